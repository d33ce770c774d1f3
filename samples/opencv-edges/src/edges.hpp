// Edges by OpenCV on the CPU: the reference that the CUDA kernel is compared with.

#pragma once

#include <opencv2/core.hpp>

// |gx| + |gy| of the 3x3 Sobel filter, saturated to 255, with the border pixels repeated outwards. CV_8UC1 to
// CV_8UC1.
cv::Mat edges_on_cpu(const cv::Mat& grey);

// CV_8UC3 in red, green, blue order to CV_8UC1.
cv::Mat to_grey(const cv::Mat& rgb);
