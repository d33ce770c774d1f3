// saxpy: a*x + y on the CPU, by Thrust and by cuBLAS, each compared with the CPU.

#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "saxpy/saxpy.hpp"

namespace {

constexpr int kOk = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;

using Saxpy = std::vector<float> (*)(float, const std::vector<float>&, std::vector<float>);

struct Backend {
    const char* name;
    Saxpy compute;
};

constexpr Backend kGpuBackends[] = {{"thrust", saxpy::by_thrust}, {"cublas", saxpy::by_cublas}};

struct Options {
    int n = 1 << 22;
    float a = 2.5f;
    bool self_test = false;
    bool require_gpu = false;
    bool help = false;
};

struct Input {
    float a;
    std::vector<float> x;
    std::vector<float> y;
};

// A usage mistake, kept apart from the std::invalid_argument that the library throws.
class UsageError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

Input make_input(float a, int n) {
    Input in{a, std::vector<float>(n), std::vector<float>(n)};
    for (int i = 0; i < n; ++i) {
        in.x[i] = std::sin(0.001f * static_cast<float>(i));
        in.y[i] = std::cos(0.001f * static_cast<float>(i));
    }
    return in;
}

bool same(const std::vector<float>& got, const std::vector<float>& want, const Input& in, const char* what) {
    if (got.size() != want.size()) {
        std::fprintf(stderr, "FAILED: %s: %zu elements, expected %zu\n", what, got.size(), want.size());
        return false;
    }
    for (size_t i = 0; i < want.size(); ++i) {
        // Written so that a NaN fails too.
        if (!(std::fabs(got[i] - want[i]) <= saxpy::tolerance(in.a, in.x[i], in.y[i]))) {
            std::fprintf(stderr, "FAILED: %s: element %zu is %.9g, expected %.9g\n", what, i, got[i],
                         want[i]);
            return false;
        }
    }
    return true;
}

void print_device() {
    const saxpy::Device device = saxpy::current_device();
    std::printf("device: %s, compute capability %d.%d\n", device.name.c_str(), device.compute_major,
                device.compute_minor);
}

struct TimedResult {
    std::vector<float> y;
    double time_s;
};

TimedResult timed(const Backend& backend, const Input& in) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<float> y = backend.compute(in.a, in.x, in.y);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    return {std::move(y), elapsed.count()};
}

int run(const Options& options) {
    if (const std::string reason = saxpy::why_no_device(); !reason.empty()) {
        std::fprintf(stderr, "saxpy: no CUDA device (%s)\n", reason.c_str());
        std::fprintf(
            stderr,
            "  in a container, start it with --runtime nvidia; --self-test checks the CPU part alone\n");
        return kFailed;
    }
    print_device();
    const Input in = make_input(options.a, options.n);
    const std::vector<float> want = saxpy::on_cpu(in.a, in.x, in.y);
    for (const Backend& backend : kGpuBackends) {
        timed(backend, in);  // the first call also loads code and creates the context
        const TimedResult result = timed(backend, in);
        if (!same(result.y, want, in, backend.name)) {
            return kFailed;
        }
        std::printf("%s: n = %d, %.3f ms with both copies, result matches the CPU\n", backend.name, options.n,
                    1e3 * result.time_s);
    }
    return kOk;
}

int self_test(const Options& options) {
    // Exact in binary, so there is one right answer.
    const Input known{2.0f, {1.0f, 2.5f, -4.0f}, {0.5f, 0.25f, 8.0f}};
    if (saxpy::on_cpu(known.a, known.x, known.y) != std::vector<float>{2.5f, 5.25f, 0.0f}) {
        std::fprintf(stderr, "FAILED: CPU reference\n");
        return kFailed;
    }
    std::printf("CPU reference: ok\n");

    if (const std::string reason = saxpy::why_no_device(); !reason.empty()) {
        if (options.require_gpu) {
            std::fprintf(stderr, "FAILED: --require-gpu, and there is no CUDA device (%s)\n", reason.c_str());
            return kFailed;
        }
        std::printf("no CUDA device: GPU part skipped (%s)\n", reason.c_str());
        return kOk;
    }
    print_device();
    for (const Backend& backend : kGpuBackends) {
        for (const int n : {1, 255, 257, 1'000'003}) {
            const Input in = make_input(options.a, n);
            const std::vector<float> want = saxpy::on_cpu(in.a, in.x, in.y);
            if (!same(backend.compute(in.a, in.x, in.y), want, in, backend.name)) {
                return kFailed;
            }
        }
        std::printf("%s: ok\n", backend.name);
    }
    return kOk;
}

constexpr const char* kHelp =
    "usage: saxpy [--n N] [--a A] [--self-test [--require-gpu]] [--help]\n"
    "\n"
    "Computes a*x + y by Thrust and by cuBLAS, compares both with the CPU and prints the times.\n"
    "\n"
    "  --n N          elements in x and y (default 4194304)\n"
    "  --a A          the factor (default 2.5)\n"
    "  --self-test    check the CPU reference, then the GPU if there is one\n"
    "  --require-gpu  with --self-test: having no GPU is a failure\n"
    "  --help         show this text\n"
    "\n"
    "exit status: 0 all right, 1 wrong result or no GPU, 2 wrong usage\n";

int parse_count(const std::string& text) {
    size_t end = 0;
    long long value = 0;
    try {
        value = std::stoll(text, &end);
    } catch (const std::exception&) {
        end = 0;  // not a number, or one that does not fit
    }
    if (end == 0 || end != text.size() || value < 1 || value > std::numeric_limits<int>::max()) {
        throw UsageError("--n takes a whole number from 1 to 2147483647, not '" + text + "'");
    }
    return static_cast<int>(value);
}

float parse_factor(const std::string& text) {
    size_t end = 0;
    float value = 0;
    try {
        value = std::stof(text, &end);
    } catch (const std::exception&) {
        end = 0;
    }
    if (end == 0 || end != text.size() || !std::isfinite(value)) {
        throw UsageError("--a takes a finite number, not '" + text + "'");
    }
    return value;
}

Options parse_options(const std::vector<std::string>& args) {
    Options options;
    for (size_t i = 0; i < args.size(); ++i) {
        const std::string& option = args[i];
        if (option == "--n" || option == "--a") {
            if (i + 1 == args.size()) {
                throw UsageError(option + " needs a value");
            }
            const std::string& value = args[++i];
            if (option == "--n") {
                options.n = parse_count(value);
            } else {
                options.a = parse_factor(value);
            }
        } else if (option == "--self-test") {
            options.self_test = true;
        } else if (option == "--require-gpu") {
            options.require_gpu = true;
        } else if (option == "--help") {
            options.help = true;
        } else {
            throw UsageError("unknown argument '" + option + "'");
        }
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Options options = parse_options({argv + 1, argv + argc});
        if (options.help) {
            std::fputs(kHelp, stdout);
            return kOk;
        }
        return options.self_test ? self_test(options) : run(options);
    } catch (const UsageError& error) {
        std::fprintf(stderr, "saxpy: %s\ntry: saxpy --help\n", error.what());
        return kUsage;
    } catch (const std::bad_alloc& error) {
        std::fprintf(stderr, "saxpy: not enough memory (%s); try a smaller --n\n", error.what());
        return kFailed;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "saxpy: %s\n", error.what());
        return kFailed;
    }
}
