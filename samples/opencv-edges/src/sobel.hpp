// The Sobel filter as a CUDA kernel. Plain pointers: neither side needs the other's headers (OpenCV's through
// nvcc are slow to compile).

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace gpu {

// An 8-bit grey image in host memory; rows start step bytes apart.
struct ImageView {
    const std::uint8_t* data;
    int width;
    int height;
    std::size_t step;
};

// Empty when there is a device to use; otherwise CUDA's reason why not.
std::string why_no_device();

// Name and compute capability of the current device. Throws std::runtime_error when there is none.
std::string describe_device();

// |gx| + |gy| of the 3x3 Sobel filter, saturated to 255, with the border pixels repeated outwards. Writes as
// many rows of as many pixels as the input has to out. Throws std::runtime_error naming the CUDA call that
// failed.
void sobel(const ImageView& in, std::uint8_t* out, std::size_t out_step);

}  // namespace gpu
