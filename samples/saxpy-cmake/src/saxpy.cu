#include "saxpy/saxpy.hpp"

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <thrust/copy.h>
#include <thrust/device_vector.h>
#include <thrust/system_error.h>
#include <thrust/transform.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

// Every CUDA and cuBLAS call goes through CHECK: an error that is not read is reported later, by an innocent
// call.
#define CHECK(call) ::saxpy::check((call), #call, __FILE__, __LINE__)

namespace saxpy {
namespace {

std::string describe(cudaError_t error) {
    return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
}

[[noreturn]] void fail(const std::string& error, const char* call, const char* file, int line) {
    throw Error(std::string(file) + ":" + std::to_string(line) + ": " + error + "\n  in " + call);
}

void check(cudaError_t error, const char* call, const char* file, int line) {
    if (error != cudaSuccess) {
        fail(describe(error), call, file, line);
    }
}

void check(cublasStatus_t status, const char* call, const char* file, int line) {
    if (status != CUBLAS_STATUS_SUCCESS) {
        fail(std::string(cublasGetStatusName(status)) + ": " + cublasGetStatusString(status), call, file,
             line);
    }
}

void require_same_length(const std::vector<float>& x, const std::vector<float>& y) {
    if (x.size() != y.size()) {
        throw std::invalid_argument("x has " + std::to_string(x.size()) + " elements and y has " +
                                    std::to_string(y.size()));
    }
}

class CublasHandle {
  public:
    CublasHandle() { CHECK(cublasCreate(&handle_)); }
    ~CublasHandle() { cublasDestroy(handle_); }
    CublasHandle(const CublasHandle&) = delete;
    CublasHandle& operator=(const CublasHandle&) = delete;

    cublasHandle_t get() const { return handle_; }

  private:
    cublasHandle_t handle_ = nullptr;
};

// A functor and not a lambda: __device__ lambdas need --extended-lambda from every project that copies this.
struct MultiplyAdd {
    float a;
    __host__ __device__ float operator()(float x, float y) const { return a * x + y; }
};

std::vector<float> to_host(const thrust::device_vector<float>& device) {
    std::vector<float> host(device.size());
    thrust::copy(device.begin(), device.end(), host.begin());
    return host;
}

// Thrust throws its own exceptions; callers of this library, who see no CUDA header, get Error from it too.
// The device is asked for first, because Thrust calls a missing driver std::bad_alloc.
template <typename Function>
std::vector<float> on_device(Function compute) {
    if (const std::string reason = why_no_device(); !reason.empty()) {
        throw Error("no CUDA device: " + reason);
    }
    try {
        return compute();
    } catch (const thrust::system_error& error) {
        throw Error(std::string("Thrust: ") + error.what());
    }
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

Device current_device() {
    int device = 0;
    cudaDeviceProp properties{};
    CHECK(cudaGetDevice(&device));
    CHECK(cudaGetDeviceProperties(&properties, device));
    return {properties.name, properties.major, properties.minor};
}

std::vector<float> on_cpu(float a, const std::vector<float>& x, std::vector<float> y) {
    require_same_length(x, y);
    for (size_t i = 0; i < x.size(); ++i) {
        y[i] = a * x[i] + y[i];
    }
    return y;
}

std::vector<float> by_thrust(float a, const std::vector<float>& x, std::vector<float> y) {
    require_same_length(x, y);
    return on_device([&] {
        const thrust::device_vector<float> device_x = x;
        thrust::device_vector<float> device_y = y;
        thrust::transform(device_x.begin(), device_x.end(), device_y.begin(), device_y.begin(),
                          MultiplyAdd{a});
        return to_host(device_y);
    });
}

std::vector<float> by_cublas(float a, const std::vector<float>& x, std::vector<float> y) {
    require_same_length(x, y);
    // cublasSaxpy_64 takes longer vectors, but CUDA 11 on L4T r35 does not have it.
    if (x.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
        throw std::invalid_argument("cuBLAS counts elements in an int; x has " + std::to_string(x.size()));
    }
    return on_device([&] {
        const CublasHandle handle;
        const thrust::device_vector<float> device_x = x;
        thrust::device_vector<float> device_y = y;
        CHECK(cublasSaxpy(handle.get(), static_cast<int>(x.size()), &a,
                          thrust::raw_pointer_cast(device_x.data()), 1,
                          thrust::raw_pointer_cast(device_y.data()), 1));
        return to_host(device_y);
    });
}

float tolerance(float a, float x, float y) {
    return 2 * std::numeric_limits<float>::epsilon() * (std::fabs(a * x) + std::fabs(y));
}

}  // namespace saxpy
