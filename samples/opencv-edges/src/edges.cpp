#include "edges.hpp"

#include <opencv2/imgproc.hpp>

cv::Mat edges_on_cpu(const cv::Mat& grey) {
    // 16 bits hold everything here: each gradient lies within 4 * 255, their sum within 8 * 255.
    cv::Mat gx;
    cv::Mat gy;
    cv::Sobel(grey, gx, CV_16S, 1, 0, 3, 1, 0, cv::BORDER_REPLICATE);
    cv::Sobel(grey, gy, CV_16S, 0, 1, 3, 1, 0, cv::BORDER_REPLICATE);
    cv::Mat edges;
    cv::Mat(cv::abs(gx) + cv::abs(gy)).convertTo(edges, CV_8U);
    return edges;
}

cv::Mat to_grey(const cv::Mat& rgb) {
    cv::Mat grey;
    cv::cvtColor(rgb, grey, cv::COLOR_RGB2GRAY);
    return grey;
}
