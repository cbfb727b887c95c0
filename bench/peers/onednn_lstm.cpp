// onednn_lstm.cpp -- one case of //bench with oneDNN's LSTM primitive, the layer alone.
//
//     g++ -O2 -fopenmp onednn_lstm.cpp -ldnnl -o onednn_lstm
//     ./onednn_lstm CASE THREADS SECONDS
//
// Prints one line of JSON: case, threads, ms_median, ms_min, n, rss_mib, rss_start_mib,
// implementation, version.  Weights and their gradients stand in a plain layout, as a program
// keeps them; the primitive wants its own.  A step of training brings them there and back, for
// between two steps they change.  In inference they do not: they are brought there before the
// clock runs, and ms_with_reorder is the time with it.
// Ends with status 3 if there is no such case.
#include <omp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>

#if DNNL_VERSION_MAJOR != 2
#error "written for oneDNN 2"
#endif

using dnnl::memory;
using Tag = memory::format_tag;
using Arguments = std::unordered_map<int, memory>;

namespace {

struct Case {
    const char *name;
    memory::dim I, H, B, T, D;
    bool train;
};

const Case cases[] = {
    {"lstm_train_512", 512, 512, 64, 50, 1, true},
    {"lstm_infer_512", 512, 512, 64, 50, 1, false},
    {"bilstm_train_128", 100, 128, 32, 128, 2, true},
    {"lstm_step_b1_512", 512, 512, 1, 1, 1, false},
};

double now() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

double peak_mib() {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / 1024;
}

memory::desc floats(const memory::dims &shape, Tag tag) {
    return memory::desc(shape, memory::data_type::f32, tag);
}

// The descriptions of all that a layer reads and writes; weights as the primitive likes them.
struct Layout {
    memory::desc x, y, state, bias, w, u, w_any, u_any;

    explicit Layout(const Case &c)
        : x(floats({c.T, c.B, c.I}, Tag::tnc)),
          y(floats({c.T, c.B, c.D * c.H}, Tag::tnc)),
          state(floats({1, c.D, c.B, c.H}, Tag::ldnc)),
          bias(floats({1, c.D, 4, c.H}, Tag::ldgo)),
          w(floats({1, c.D, c.I, 4, c.H}, Tag::ldigo)),
          u(floats({1, c.D, c.H, 4, c.H}, Tag::ldigo)),
          w_any(floats({1, c.D, c.I, 4, c.H}, Tag::any)),
          u_any(floats({1, c.D, c.H, 4, c.H}, Tag::any)) {}
};

dnnl::rnn_direction direction(const Case &c) {
    return c.D == 2 ? dnnl::rnn_direction::bidirectional_concat
                    : dnnl::rnn_direction::unidirectional_left2right;
}

dnnl::lstm_forward::primitive_desc forward_desc(const Case &c, const Layout &l,
                                                const dnnl::engine &engine) {
    auto kind = c.train ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
    dnnl::lstm_forward::desc desc(kind, direction(c), l.x, l.state, l.state, l.w_any, l.u_any,
                                  l.bias, l.y, l.state, l.state);
    return dnnl::lstm_forward::primitive_desc(desc, engine);
}

dnnl::lstm_backward::primitive_desc backward_desc(
    const Case &c, const Layout &l, const dnnl::engine &engine,
    const dnnl::lstm_forward::primitive_desc &forward) {
    dnnl::lstm_backward::desc desc(dnnl::prop_kind::backward, direction(c), l.x, l.state, l.state,
                                   l.w_any, l.u_any, l.bias, l.y, l.state, l.state, l.x, l.state,
                                   l.state, l.w_any, l.u_any, l.bias, l.y, l.state, l.state);
    return dnnl::lstm_backward::primitive_desc(desc, engine, forward);
}

class Layer {
public:
    explicit Layer(const Case &c)
        : engine_(dnnl::engine::kind::cpu, 0),
          stream_(engine_),
          layout_(c),
          forward_desc_(forward_desc(c, layout_, engine_)),
          forward_(forward_desc_),
          w_(uniform(layout_.w)),
          u_(uniform(layout_.u)),
          w_forward_(in_layout(forward_desc_.weights_layer_desc(), w_)),
          u_forward_(in_layout(forward_desc_.weights_iter_desc(), u_)),
          arguments_{{DNNL_ARG_SRC_LAYER, uniform(layout_.x)},
                     {DNNL_ARG_SRC_ITER, constant(layout_.state, 0)},
                     {DNNL_ARG_SRC_ITER_C, constant(layout_.state, 0)},
                     {DNNL_ARG_WEIGHTS_LAYER, w_forward_},
                     {DNNL_ARG_WEIGHTS_ITER, u_forward_},
                     {DNNL_ARG_BIAS, uniform(layout_.bias)},
                     {DNNL_ARG_DST_LAYER, make(layout_.y)},
                     {DNNL_ARG_DST_ITER, make(layout_.state)},
                     {DNNL_ARG_DST_ITER_C, make(layout_.state)}} {
        if (c.train) prepare_backward(c);
        pack();
    }

    // Weights to the forward primitive's layout.
    void pack() {
        reorder(w_, w_forward_);
        reorder(u_, u_forward_);
    }

    void infer() {
        forward_.execute(stream_, arguments_);
        stream_.wait();
    }

    // The primitive adds to the gradients of the weights.
    void train() {
        pack();
        forward_.execute(stream_, arguments_);
        reorder(w_, w_backward_);
        reorder(u_, u_backward_);
        for (const memory &m : {dw_packed_, du_packed_, dbias_})
            std::memset(m.get_data_handle(), 0, m.get_desc().get_size());
        backward_.execute(stream_, backward_arguments_);
        reorder(dw_packed_, dw_);
        reorder(du_packed_, du_);
        stream_.wait();
    }

    const char *implementation() const { return forward_desc_.impl_info_str(); }

private:
    memory make(const memory::desc &desc) const { return memory(desc, engine_); }

    memory constant(const memory::desc &desc, float value) const {
        memory m = make(desc);
        float *data = static_cast<float *>(m.get_data_handle());
        std::fill_n(data, desc.get_size() / sizeof(float), value);
        return m;
    }

    // In +-1/16, by a linear congruential generator.
    memory uniform(const memory::desc &desc) const {
        memory m = make(desc);
        float *data = static_cast<float *>(m.get_data_handle());
        unsigned state = 1;
        for (size_t i = 0; i < desc.get_size() / sizeof(float); i++) {
            state = state * 1664525u + 1013904223u;
            data[i] = (static_cast<float>(state >> 8) / (1 << 23) - 1) / 16;
        }
        return m;
    }

    // Memory of that layout; `plain` itself if that is its own.
    memory in_layout(const memory::desc &desc, const memory &plain) const {
        return desc == plain.get_desc() ? plain : make(desc);
    }

    void reorder(memory &from, memory &to) {
        if (from.get_data_handle() == to.get_data_handle()) return;
        dnnl::reorder(from, to).execute(stream_, from, to);
    }

    void prepare_backward(const Case &c) {
        auto desc = backward_desc(c, layout_, engine_, forward_desc_);
        backward_ = dnnl::lstm_backward(desc);
        arguments_[DNNL_ARG_WORKSPACE] = make(forward_desc_.workspace_desc());
        w_backward_ = in_layout(desc.weights_layer_desc(), w_);
        u_backward_ = in_layout(desc.weights_iter_desc(), u_);
        dw_ = make(layout_.w);
        du_ = make(layout_.u);
        dw_packed_ = in_layout(desc.diff_weights_layer_desc(), dw_);
        du_packed_ = in_layout(desc.diff_weights_iter_desc(), du_);
        dbias_ = make(layout_.bias);
        backward_arguments_ = arguments_;
        for (const auto &more : Arguments{
                 {DNNL_ARG_WEIGHTS_LAYER, w_backward_},
                 {DNNL_ARG_WEIGHTS_ITER, u_backward_},
                 {DNNL_ARG_DIFF_SRC_LAYER, make(layout_.x)},
                 {DNNL_ARG_DIFF_SRC_ITER, make(layout_.state)},
                 {DNNL_ARG_DIFF_SRC_ITER_C, make(layout_.state)},
                 {DNNL_ARG_DIFF_WEIGHTS_LAYER, dw_packed_},
                 {DNNL_ARG_DIFF_WEIGHTS_ITER, du_packed_},
                 {DNNL_ARG_DIFF_BIAS, dbias_},
                 {DNNL_ARG_DIFF_DST_LAYER, constant(layout_.y, 1)},
                 {DNNL_ARG_DIFF_DST_ITER, constant(layout_.state, 0)},
                 {DNNL_ARG_DIFF_DST_ITER_C, constant(layout_.state, 0)}})
            backward_arguments_[more.first] = more.second;
    }

    dnnl::engine engine_;
    dnnl::stream stream_;
    Layout layout_;
    dnnl::lstm_forward::primitive_desc forward_desc_;
    dnnl::lstm_forward forward_;
    dnnl::lstm_backward backward_;
    memory w_, u_, w_forward_, u_forward_, w_backward_, u_backward_;
    memory dw_, du_, dbias_, dw_packed_, du_packed_;
    Arguments arguments_, backward_arguments_;
};

struct Timing {
    double median, minimum; // milliseconds
    size_t n;
};

template <typename Step> Timing time_steps(double budget, Step step) {
    const int warm_up = 2;
    const size_t min_steps = 5;
    for (int i = 0; i < warm_up; i++) step();
    std::vector<double> spent;
    for (double start = now(); spent.size() < min_steps || now() - start < budget;) {
        double before = now();
        step();
        spent.push_back(1e3 * (now() - before));
    }
    std::sort(spent.begin(), spent.end());
    size_t n = spent.size();
    return {(spent[(n - 1) / 2] + spent[n / 2]) / 2, spent[0], n};
}

void run(const Case &c, int threads, double seconds) {
    double rss_start = peak_mib();
    Layer layer(c);
    std::string more;
    Timing t;
    if (c.train) {
        t = time_steps(seconds, [&] { layer.train(); });
    } else {
        t = time_steps(seconds / 2, [&] { layer.infer(); });
        Timing packing = time_steps(seconds / 2, [&] { layer.pack(), layer.infer(); });
        more = ", \"ms_with_reorder\": " + std::to_string(packing.median);
    }
    std::printf("{\"case\": \"%s\", \"threads\": %d, \"ms_median\": %.6g, \"ms_min\": %.6g, "
                "\"n\": %zu, \"rss_mib\": %.6g, \"rss_start_mib\": %.6g, \"implementation\": "
                "\"%s\", \"version\": \"%d.%d.%d\"%s}\n",
                c.name, threads, t.median, t.minimum, t.n, peak_mib(), rss_start,
                layer.implementation(), DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR,
                DNNL_VERSION_PATCH, more.c_str());
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: onednn_lstm CASE THREADS SECONDS\n");
        return 2;
    }
    int threads = std::atoi(argv[2]);
    omp_set_num_threads(threads);
    for (const Case &c : cases)
        if (std::strcmp(argv[1], c.name) == 0) {
            try {
                run(c, threads, std::atof(argv[3]));
                return 0;
            } catch (const dnnl::error &e) {
                std::fprintf(stderr, "%s\n", e.what());
                return 1;
            }
        }
    std::fprintf(stderr, "has no case %s\n", argv[1]);
    return 3;
}
