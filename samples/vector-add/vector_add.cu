// vector-add: c = a + b on the GPU, checked against the CPU, with the memory bandwidth it reached.

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

// Every CUDA call goes through CHECK: an error that is not read is reported later, by an innocent call.
#define CHECK(call)                                                                              \
    do {                                                                                         \
        const cudaError_t check_error = (call);                                                  \
        if (check_error != cudaSuccess) {                                                        \
            std::fprintf(stderr, "%s:%d: %s: %s\n  in %s\n", __FILE__, __LINE__,                 \
                         cudaGetErrorName(check_error), cudaGetErrorString(check_error), #call); \
            std::exit(kFailed);                                                                  \
        }                                                                                        \
    } while (0)

namespace {

constexpr int kOk = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;

constexpr int kThreadsPerBlock = 256;

struct Options {
    int n = 1 << 24;
    int iterations = 20;
    int every_s = 0;
    bool self_test = false;
    bool require_gpu = false;
    bool help = false;
};

struct Vectors {
    std::vector<float> a;
    std::vector<float> b;
};

// Device memory that is freed on every way out of the scope.
class DeviceVector {
  public:
    explicit DeviceVector(size_t n) : bytes_(n * sizeof(float)) { CHECK(cudaMalloc(&data_, bytes_)); }
    ~DeviceVector() { cudaFree(data_); }  // a destructor cannot report; the next CHECK would
    DeviceVector(const DeviceVector&) = delete;
    DeviceVector& operator=(const DeviceVector&) = delete;

    float* data() const { return data_; }
    void copy_from(const std::vector<float>& host) {
        CHECK(cudaMemcpy(data_, host.data(), bytes_, cudaMemcpyHostToDevice));
    }
    void copy_to(std::vector<float>& host) const {
        CHECK(cudaMemcpy(host.data(), data_, bytes_, cudaMemcpyDeviceToHost));
    }

  private:
    size_t bytes_;
    float* data_ = nullptr;
};

class Stopwatch {
  public:
    Stopwatch() {
        CHECK(cudaEventCreate(&start_));
        CHECK(cudaEventCreate(&stop_));
    }
    ~Stopwatch() {
        cudaEventDestroy(start_);
        cudaEventDestroy(stop_);
    }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;

    void start() { CHECK(cudaEventRecord(start_)); }
    float stop_ms() {
        float elapsed_ms = 0;
        CHECK(cudaEventRecord(stop_));
        CHECK(cudaEventSynchronize(stop_));
        CHECK(cudaEventElapsedTime(&elapsed_ms, start_, stop_));
        return elapsed_ms;
    }

  private:
    cudaEvent_t start_ = nullptr;
    cudaEvent_t stop_ = nullptr;
};

__global__ void add(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
                    size_t n) {
    // A grid-stride loop is right for every n and every grid; size_t, because n + stride can pass 2^31.
    const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
    for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
        c[i] = a[i] + b[i];
    }
}

std::vector<float> add_on_cpu(const Vectors& in) {
    std::vector<float> c(in.a.size());
    std::transform(in.a.begin(), in.a.end(), in.b.begin(), c.begin(), [](float x, float y) { return x + y; });
    return c;
}

struct GpuResult {
    std::vector<float> c;
    float best_ms;
};

GpuResult add_on_gpu(const Vectors& in, int iterations) {
    const size_t n = in.a.size();
    DeviceVector a(n);
    DeviceVector b(n);
    DeviceVector c(n);
    a.copy_from(in.a);
    b.copy_from(in.b);

    const unsigned blocks = static_cast<unsigned>((n + kThreadsPerBlock - 1) / kThreadsPerBlock);
    GpuResult result{std::vector<float>(n), std::numeric_limits<float>::max()};
    Stopwatch stopwatch;
    // The best of all runs: the first also pays for loading the code, and a Jetson raises its clocks with
    // load.
    for (int i = 0; i < iterations; ++i) {
        stopwatch.start();
        add<<<blocks, kThreadsPerBlock>>>(a.data(), b.data(), c.data(), n);
        CHECK(cudaGetLastError());
        result.best_ms = std::min(result.best_ms, stopwatch.stop_ms());
    }
    c.copy_to(result.c);
    return result;
}

Vectors make_vectors(int n) {
    Vectors v{std::vector<float>(n), std::vector<float>(n)};
    // Small multiples of 1/4 are exact in binary, and so are their sums: results are compared with ==.
    for (int i = 0; i < n; ++i) {
        v.a[i] = 0.25f * static_cast<float>(i % 4096);
        v.b[i] = 0.25f * static_cast<float>((7 * static_cast<long long>(i)) % 4096);
    }
    return v;
}

bool same(const std::vector<float>& got, const std::vector<float>& want, const char* what) {
    const auto [g, w] = std::mismatch(got.begin(), got.end(), want.begin(), want.end());
    if (g == got.end() && w == want.end()) {
        return true;
    }
    std::fprintf(stderr, "FAILED: %s: element %td is %g, expected %g\n", what, g - got.begin(),
                 g == got.end() ? 0.0 : *g, w == want.end() ? 0.0 : *w);
    return false;
}

// Empty when there is a device to use; otherwise CUDA's reason why not.
std::string why_no_device() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) {
        return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
    }
    return count > 0 ? "" : "cudaGetDeviceCount: 0 devices";
}

void print_device() {
    int device = 0;
    cudaDeviceProp properties{};
    CHECK(cudaGetDevice(&device));
    CHECK(cudaGetDeviceProperties(&properties, device));
    std::printf("device: %s, compute capability %d.%d, %d multiprocessors\n", properties.name,
                properties.major, properties.minor, properties.multiProcessorCount);
}

int run(const Options& options) {
    if (const std::string reason = why_no_device(); !reason.empty()) {
        std::fprintf(stderr, "vector-add: no CUDA device (%s)\n", reason.c_str());
        std::fprintf(
            stderr,
            "  in a container, start it with --runtime nvidia; --self-test checks the CPU part alone\n");
        return kFailed;
    }
    print_device();
    const Vectors in = make_vectors(options.n);
    const GpuResult gpu = add_on_gpu(in, options.iterations);
    if (!same(gpu.c, add_on_cpu(in), "GPU against CPU")) {
        return kFailed;
    }
    const double bytes = 3.0 * sizeof(float) * options.n;  // two vectors read, one written
    std::printf("n = %d: %.3f ms, %.1f GB/s (best of %d), result matches the CPU\n", options.n, gpu.best_ms,
                bytes / (gpu.best_ms * 1e6), options.iterations);
    return kOk;
}

int self_test(const Options& options) {
    const Vectors known{{1.0f, 2.5f, -4.0f}, {0.5f, 0.25f, 4.0f}};
    if (!same(add_on_cpu(known), {1.5f, 2.75f, 0.0f}, "CPU reference")) {
        return kFailed;
    }
    std::printf("CPU reference: ok\n");

    if (const std::string reason = why_no_device(); !reason.empty()) {
        if (options.require_gpu) {
            std::fprintf(stderr, "FAILED: --require-gpu, and there is no CUDA device (%s)\n", reason.c_str());
            return kFailed;
        }
        std::printf("no CUDA device: GPU part skipped (%s)\n", reason.c_str());
        return kOk;
    }
    print_device();
    // One thread, around one block, and not a multiple of anything: where index arithmetic goes wrong.
    for (const int n : {1, kThreadsPerBlock - 1, kThreadsPerBlock, kThreadsPerBlock + 1, 1'000'003}) {
        const Vectors in = make_vectors(n);
        if (!same(add_on_gpu(in, 1).c, add_on_cpu(in), "GPU against CPU")) {
            return kFailed;
        }
        std::printf("GPU, n = %d: ok\n", n);
    }
    return kOk;
}

// As a service does: until a test fails or somebody ends it. A container's first process has to ask for SIGTERM.
int self_test_again_and_again(const Options& options) {
    std::signal(SIGTERM, [](int) { std::_Exit(kOk); });
    for (;;) {
        if (const int status = self_test(options); status != kOk) {
            return status;
        }
        std::fflush(stdout);
        std::this_thread::sleep_for(std::chrono::seconds(options.every_s));
    }
}

constexpr const char* kHelp =
    "usage: vector-add [--n N] [--iterations N] [--self-test [--require-gpu] [--every N]] [--help]\n"
    "\n"
    "Adds two vectors on the GPU, compares with the CPU and prints the memory bandwidth.\n"
    "\n"
    "  --n N           elements in each vector (default 16777216)\n"
    "  --iterations N  timed runs, the best counts (default 20)\n"
    "  --self-test     check the CPU reference, then the GPU if there is one\n"
    "  --require-gpu   with --self-test: having no GPU is a failure\n"
    "  --every N       with --self-test: again every N seconds, until it is stopped\n"
    "  --help          show this text\n"
    "\n"
    "exit status: 0 all right, 1 wrong result or no GPU, 2 wrong usage\n";

int parse_count(const std::string& option, const std::string& text) {
    size_t end = 0;
    long long value = 0;
    try {
        value = std::stoll(text, &end);
    } catch (const std::exception&) {
        end = 0;  // not a number, or one that does not fit
    }
    if (end == 0 || end != text.size() || value < 1 || value > std::numeric_limits<int>::max()) {
        throw std::invalid_argument(option + " takes a whole number from 1 to 2147483647, not '" + text +
                                    "'");
    }
    return static_cast<int>(value);
}

Options parse_options(const std::vector<std::string>& args) {
    Options options;
    for (size_t i = 0; i < args.size(); ++i) {
        const std::string& option = args[i];
        if (option == "--n" || option == "--iterations" || option == "--every") {
            if (i + 1 == args.size()) {
                throw std::invalid_argument(option + " needs a value");
            }
            int& count = option == "--n" ? options.n : option == "--every" ? options.every_s : options.iterations;
            count = parse_count(option, args[++i]);
        } else if (option == "--self-test") {
            options.self_test = true;
        } else if (option == "--require-gpu") {
            options.require_gpu = true;
        } else if (option == "--help") {
            options.help = true;
        } else {
            throw std::invalid_argument("unknown argument '" + option + "'");
        }
    }
    if (options.every_s > 0 && !options.self_test) {
        throw std::invalid_argument("--every goes with --self-test");
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
        if (options.every_s > 0) {
            return self_test_again_and_again(options);
        }
        return options.self_test ? self_test(options) : run(options);
    } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "vector-add: %s\ntry: vector-add --help\n", error.what());
        return kUsage;
    } catch (const std::bad_alloc&) {
        std::fprintf(stderr, "vector-add: not enough host memory; try a smaller --n\n");
        return kFailed;
    }
}
