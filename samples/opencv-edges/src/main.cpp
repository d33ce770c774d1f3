// opencv-edges: the edges of a picture, by a CUDA kernel or by OpenCV on the CPU.

#include <cstdio>
#include <exception>
#include <opencv2/core.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "edges.hpp"
#include "image_file.hpp"
#include "sobel.hpp"

namespace {

constexpr int kOk = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;

struct Options {
    std::string input;
    std::string output;
    bool cpu = false;
    bool self_test = false;
    bool require_gpu = false;
    bool help = false;
};

class UsageError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

cv::Mat edges_on_gpu(const cv::Mat& grey) {
    cv::Mat edges(grey.size(), CV_8UC1);
    gpu::sobel({grey.data, grey.cols, grey.rows, grey.step}, edges.data, edges.step);
    return edges;
}

int run(const Options& options) {
    if (!options.cpu) {
        if (const std::string reason = gpu::why_no_device(); !reason.empty()) {
            std::fprintf(stderr, "opencv-edges: no CUDA device (%s)\n", reason.c_str());
            std::fprintf(stderr,
                         "  in a container, start it with --runtime nvidia; --cpu does without one\n");
            return kFailed;
        }
    }
    const cv::Mat grey = to_grey(read_image(options.input));
    write_png(options.output, options.cpu ? edges_on_cpu(grey) : edges_on_gpu(grey));
    std::printf("%s: %d x %d, edges by %s in %s\n", options.input.c_str(), grey.cols, grey.rows,
                options.cpu ? "OpenCV" : "CUDA", options.output.c_str());
    return kOk;
}

// A dark picture with a lighter block, one pixel away from two borders, and a slope: flat parts, straight
// edges, corners, saturation and borders are all in it.
cv::Mat make_picture(int width, int height) {
    cv::Mat picture(height, width, CV_8UC1);
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
            const bool in_block = x > 0 && y > 0 && x < width / 2 && y < height / 2;
            picture.at<uchar>(y, x) = static_cast<uchar>(in_block ? 230 : (x + 3 * y) % 64);
        }
    }
    return picture;
}

bool same(const cv::Mat& got, const cv::Mat& want, const char* what) {
    for (int y = 0; y < want.rows; ++y) {
        for (int x = 0; x < want.cols; ++x) {
            if (got.at<uchar>(y, x) != want.at<uchar>(y, x)) {
                std::fprintf(stderr, "FAILED: %s: pixel (%d, %d) is %d, expected %d\n", what, x, y,
                             got.at<uchar>(y, x), want.at<uchar>(y, x));
                return false;
            }
        }
    }
    return true;
}

bool cpu_is_right() {
    // A step of 50 between columns 3 and 4: the filter weighs it 1 + 2 + 1 times, on both sides of the step.
    cv::Mat step(6, 8, CV_8UC1, cv::Scalar(10));
    step.colRange(4, 8).setTo(60);
    cv::Mat want(6, 8, CV_8UC1, cv::Scalar(0));
    want.colRange(3, 5).setTo(200);
    return same(edges_on_cpu(step), want, "CPU, vertical step") &&
           same(edges_on_cpu(step.t()), want.t(), "CPU, horizontal step");
}

int self_test(const Options& options) {
    if (!cpu_is_right()) {
        return kFailed;
    }
    std::printf("CPU reference: ok\n");

    if (const std::string reason = gpu::why_no_device(); !reason.empty()) {
        if (options.require_gpu) {
            std::fprintf(stderr, "FAILED: --require-gpu, and there is no CUDA device (%s)\n", reason.c_str());
            return kFailed;
        }
        std::printf("no CUDA device: GPU part skipped (%s)\n", reason.c_str());
        return kOk;
    }
    std::printf("device: %s\n", gpu::describe_device().c_str());
    // Smaller than the filter, exactly one block, and larger ones that no block size divides.
    for (const cv::Size size : {cv::Size(1, 1), cv::Size(2, 5), cv::Size(32, 8), cv::Size(641, 479)}) {
        const cv::Mat picture = make_picture(size.width, size.height);
        if (!same(edges_on_gpu(picture), edges_on_cpu(picture), "GPU against CPU")) {
            return kFailed;
        }
        std::printf("GPU, %d x %d: ok\n", size.width, size.height);
    }
    return kOk;
}

constexpr const char* kHelp =
    "usage: opencv-edges [--cpu] INPUT OUTPUT.png\n"
    "       opencv-edges --self-test [--require-gpu]\n"
    "\n"
    "Writes the edges in a picture (Sobel filter) as a grey PNG. Reads JPEG, PNG, BMP, TGA and PNM.\n"
    "\n"
    "  --cpu          use OpenCV on the CPU, not the GPU\n"
    "  --self-test    check the CPU path, then the GPU against it if there is one\n"
    "  --require-gpu  with --self-test: having no GPU is a failure\n"
    "  --help         show this text\n"
    "\n"
    "exit status: 0 all right, 1 failure or no GPU, 2 wrong usage\n";

Options parse_options(const std::vector<std::string>& args) {
    Options options;
    std::vector<std::string> paths;
    for (const std::string& arg : args) {
        if (arg == "--cpu") {
            options.cpu = true;
        } else if (arg == "--self-test") {
            options.self_test = true;
        } else if (arg == "--require-gpu") {
            options.require_gpu = true;
        } else if (arg == "--help") {
            options.help = true;
        } else if (arg.rfind("--", 0) == 0) {
            throw UsageError("unknown argument '" + arg + "'");
        } else {
            paths.push_back(arg);
        }
    }
    if (options.help) {
        return options;
    }
    if (paths.size() != (options.self_test ? 0 : 2)) {
        throw UsageError(options.self_test ? "--self-test takes no files"
                                           : "an input and an output file are needed");
    }
    if (!options.self_test) {
        options.input = paths[0];
        options.output = paths[1];
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
        std::fprintf(stderr, "opencv-edges: %s\ntry: opencv-edges --help\n", error.what());
        return kUsage;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "opencv-edges: %s\n", error.what());
        return kFailed;
    }
}
