#include "sobel.hpp"

#include <cuda_runtime.h>

#include <stdexcept>

// Every CUDA call goes through CHECK: an error that is not read is reported later, by an innocent call.
#define CHECK(call) check((call), #call, __FILE__, __LINE__)

namespace gpu {
namespace {

std::string describe(cudaError_t error) {
    return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
}

void check(cudaError_t error, const char* call, const char* file, int line) {
    if (error != cudaSuccess) {
        throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + describe(error) +
                                 "\n  in " + call);
    }
}

// Device memory whose rows are aligned as the hardware likes them.
class DeviceImage {
  public:
    DeviceImage(int width, int height) { CHECK(cudaMallocPitch(&data_, &step_, width, height)); }
    ~DeviceImage() { cudaFree(data_); }
    DeviceImage(const DeviceImage&) = delete;
    DeviceImage& operator=(const DeviceImage&) = delete;

    std::uint8_t* data() const { return data_; }
    std::size_t step() const { return step_; }

  private:
    std::uint8_t* data_ = nullptr;
    std::size_t step_ = 0;
};

__global__ void sobel_kernel(const std::uint8_t* __restrict__ in, std::size_t in_step,
                             std::uint8_t* __restrict__ out, std::size_t out_step, int width, int height) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) {
        return;
    }
    // Neighbours overlap, but the cache serves them: with 9 bytes read for each pixel, shared memory gains
    // little.
    const auto pixel = [&](int dx, int dy) {
        const int px = min(max(x + dx, 0), width - 1);
        const int py = min(max(y + dy, 0), height - 1);
        return static_cast<int>(in[py * in_step + px]);
    };
    const int gx =
        pixel(1, -1) + 2 * pixel(1, 0) + pixel(1, 1) - pixel(-1, -1) - 2 * pixel(-1, 0) - pixel(-1, 1);
    const int gy =
        pixel(-1, 1) + 2 * pixel(0, 1) + pixel(1, 1) - pixel(-1, -1) - 2 * pixel(0, -1) - pixel(1, -1);
    out[y * out_step + x] = static_cast<std::uint8_t>(min(abs(gx) + abs(gy), 255));
}

}  // namespace

std::string why_no_device() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) {
        return describe(error);
    }
    return count > 0 ? "" : "cudaGetDeviceCount: 0 devices";
}

std::string describe_device() {
    int device = 0;
    cudaDeviceProp properties{};
    CHECK(cudaGetDevice(&device));
    CHECK(cudaGetDeviceProperties(&properties, device));
    return std::string(properties.name) + ", compute capability " + std::to_string(properties.major) + "." +
           std::to_string(properties.minor);
}

void sobel(const ImageView& in, std::uint8_t* out, std::size_t out_step) {
    DeviceImage device_in(in.width, in.height);
    DeviceImage device_out(in.width, in.height);
    CHECK(cudaMemcpy2D(device_in.data(), device_in.step(), in.data, in.step, in.width, in.height,
                       cudaMemcpyHostToDevice));

    const dim3 block(32, 8);
    const dim3 grid((in.width + block.x - 1) / block.x, (in.height + block.y - 1) / block.y);
    sobel_kernel<<<grid, block>>>(device_in.data(), device_in.step(), device_out.data(), device_out.step(),
                                  in.width, in.height);
    CHECK(cudaGetLastError());

    // The copy waits for the kernel and reports what went wrong inside it.
    CHECK(cudaMemcpy2D(out, out_step, device_out.data(), device_out.step(), in.width, in.height,
                       cudaMemcpyDeviceToHost));
}

}  // namespace gpu
