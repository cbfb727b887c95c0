"""How librsvg is compiled with."""

# Its headers and those they include, in Debian's places; system headers, so our warnings skip them.
RSVG_COPTS = [
    option
    for folder in [
        "librsvg-2.0",
        "glib-2.0",
        "gdk-pixbuf-2.0",
        "cairo",
    ]
    for option in [
        "-isystem",
        "/usr/include/" + folder,
    ]
]
