"""What is installed: one archive of many libraries, and their public headers."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

def _own_objects(deps):
    """The objects of the targets and of what they depend on, without foreign libraries.

    Position-independent ones, which shared libraries may contain too.
    """
    objects = []
    for dep in deps:
        for linked in dep[CcInfo].linking_context.linker_inputs.to_list():
            if linked.owner.workspace_name or linked.owner.package.startswith("third_party"):
                continue
            for library in linked.libraries:
                objects.extend(library.pic_objects or library.objects)
    return objects

def _archive_impl(ctx):
    without = {o: True for o in _own_objects(ctx.attr.without)}
    objects = {o: True for o in _own_objects(ctx.attr.deps) if o not in without}.keys()
    archive = ctx.actions.declare_file("lib%s.a" % ctx.label.name)

    # q: two folders may have objects of one name, and r would replace the first.
    ctx.actions.run(
        executable = find_cpp_toolchain(ctx).ar_executable,
        arguments = [ctx.actions.args().add("qcsD").add(archive).add_all(objects)],
        inputs = objects,
        tools = find_cpp_toolchain(ctx).all_files,
        outputs = [archive],
        mnemonic = "Archive",
    )
    return [DefaultInfo(files = depset([archive]), runfiles = ctx.runfiles([archive]))]

archive = rule(
    implementation = _archive_impl,
    doc = "libNAME.a: deps with all of ours that they need, but without what is in `without`.",
    attrs = {
        "deps": attr.label_list(providers = [CcInfo]),
        "without": attr.label_list(providers = [CcInfo]),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
    },
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
    incompatible_use_toolchain_transition = True,
)

def _public_headers_impl(ctx):
    headers = list(ctx.files.headers)
    for dep in ctx.attr.deps:
        headers.extend(dep[CcInfo].compilation_context.direct_public_headers)
    listing = ctx.actions.declare_file(ctx.label.name + ".txt")
    ctx.actions.write(listing, "".join([h.short_path + "\n" for h in headers]))
    files = headers + [listing]
    return [DefaultInfo(files = depset(files), runfiles = ctx.runfiles(files))]

public_headers = rule(
    implementation = _public_headers_impl,
    doc = "The hdrs of the deps themselves, and NAME.txt with their paths.",
    attrs = {
        "deps": attr.label_list(providers = [CcInfo]),
        "headers": attr.label_list(allow_files = True),
    },
)
