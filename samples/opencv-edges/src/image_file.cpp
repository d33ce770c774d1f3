#include "image_file.hpp"

#include <stb_image.h>
#include <stb_image_write.h>

#include <memory>
#include <stdexcept>

cv::Mat read_image(const std::string& path) {
    constexpr int kChannels = 3;
    int width = 0;
    int height = 0;
    int channels_in_file = 0;
    const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
        stbi_load(path.c_str(), &width, &height, &channels_in_file, kChannels), &stbi_image_free);
    if (!pixels) {
        throw std::runtime_error("cannot read " + path + ": " + stbi_failure_reason());
    }
    return cv::Mat(height, width, CV_8UC3, pixels.get()).clone();  // the clone owns its pixels
}

void write_png(const std::string& path, const cv::Mat& grey) {
    CV_Assert(grey.type() == CV_8UC1);
    if (stbi_write_png(path.c_str(), grey.cols, grey.rows, 1, grey.data, static_cast<int>(grey.step)) == 0) {
        throw std::runtime_error("cannot write " + path);
    }
}
