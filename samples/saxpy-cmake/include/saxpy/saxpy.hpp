// libsaxpy: y = a*x + y on the CPU, and on the GPU in two ways. No CUDA header is needed to use it.

#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#define SAXPY_API __attribute__((visibility("default")))

namespace saxpy {

// A CUDA or cuBLAS call failed; what() names the source line, the call and the error.
class SAXPY_API Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

struct Device {
    std::string name;
    int compute_major;
    int compute_minor;
};

// Empty when there is a device to use; otherwise CUDA's reason why not.
SAXPY_API std::string why_no_device();

// The current device. Throws Error when there is none.
SAXPY_API Device current_device();

// Each returns a*x + y. Throws std::invalid_argument when x and y differ in length (by_cublas also
// when that is more than an int holds), std::bad_alloc when host
// or device memory runs out, and Error. Results agree within tolerance(): whether a*x is rounded before y is
// added is up to the compiler and to cuBLAS.
SAXPY_API std::vector<float> on_cpu(float a, const std::vector<float>& x, std::vector<float> y);
SAXPY_API std::vector<float> by_thrust(float a, const std::vector<float>& x, std::vector<float> y);
SAXPY_API std::vector<float> by_cublas(float a, const std::vector<float>& x, std::vector<float> y);

// The largest difference that rounding explains for one element: half a unit in the last place for each of
// the product and the sum, in either result.
SAXPY_API float tolerance(float a, float x, float y);

}  // namespace saxpy
