// Image files by stb_image. OpenCV's own imgcodecs reads more formats, and on Debian and Ubuntu brings more
// than a hundred libraries (GDAL, database clients) into the image on the device.

#pragma once

#include <opencv2/core.hpp>
#include <string>

// A JPEG, PNG, BMP, TGA or PNM file as CV_8UC3 in red, green, blue order. Throws std::runtime_error.
cv::Mat read_image(const std::string& path);

// A CV_8UC1 image as a PNG file. Throws std::runtime_error.
void write_png(const std::string& path, const cv::Mat& grey);
