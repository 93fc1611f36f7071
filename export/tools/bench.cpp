// hepgan-bench: microseconds per shower or track, by batch size and number of threads that share one generator.
//
// To measure a header that hepgan export --format cpp wrote, compile with -DHEPGAN_HEADER='"model.hpp"'
// -DHEPGAN_GENERATOR=hepgan::model::Generator; the program then takes model.bin.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iomanip>
#include <iostream>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "command.hpp"

#ifdef HEPGAN_HEADER
#include HEPGAN_HEADER
#else
#include "hepgan/generator.hpp"
#define HEPGAN_GENERATOR hepgan::Generator
#endif

namespace {

using Generator = HEPGAN_GENERATOR;

const std::string usage =
    std::string("usage: hepgan-bench MODEL.onnx [--batch 1,10,100,1000] [--callers 1,2] [--seconds 0.5]\n"
                "Microseconds per event. Each caller is a thread with conditions of its own; all share one generator.\n"
                "  --condition  value of each condition (default: the middle of the trained range)\n"
                "  --batch      events in one call\n"
                "  --callers    threads that call at the same time; x: throughput relative to one caller\n"
                "  --seconds    time for each number: the best of the repetitions in this time is printed\n"
                "  --noise      keys (default: time includes the noise) or given (latent numbers made beforehand)\n") +
    command::common + "example: hepgan-bench model.onnx --batch 1,100 --callers 1,2\n";

using Clock = std::chrono::steady_clock;

/// Seconds per event with a number of callers: the best of repetitions of some milliseconds each.
double measure(const Generator& generator, const std::vector<float>& conditions, std::size_t batch, std::size_t callers,
               bool keyed, double seconds) {
  const auto work = [&](std::size_t caller, std::size_t calls) {
    std::vector<hepgan::Key> keys(batch, {1, caller, 0, 0});
    std::vector<float> latent(batch * generator.latent_size()), out(batch * generator.width());
    for (std::size_t k = 0; k < batch; ++k) hepgan::normal(keys[k], &latent[k * generator.latent_size()], generator.latent_size());
    for (std::size_t call = 0; call < calls; ++call) {
      for (std::size_t k = 0; k < batch; ++k) keys[k].event = call * batch + k;
      if (keyed) {
        generator.generate(conditions, keys, out);
      } else {
        generator.generate(conditions, latent, out);
      }
    }
  };
  const auto timed = [&](std::size_t calls) {
    std::vector<std::thread> threads;
    const auto start = Clock::now();
    for (std::size_t caller = 1; caller < callers; ++caller) threads.emplace_back(work, caller, calls);
    work(0, calls);
    for (std::thread& thread : threads) thread.join();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  std::size_t calls = 1;
  while (timed(calls) < 0.05 * seconds && calls < (std::size_t{1} << 20U)) calls *= 2;
  double best = std::numeric_limits<double>::max();
  for (const auto end = Clock::now() + std::chrono::duration<double>(seconds); Clock::now() < end;) best = std::min(best, timed(calls));
  return best / static_cast<double>(calls * batch * callers);
}

int bench(const std::vector<std::string>& words) {
  command::Arguments arguments;
  std::vector<double> batches{1, 10, 100, 1000}, callers{1, 2};
  double seconds = 0.5;
  bool keyed = true;
  arguments.parse(words, {{"--batch", [&](const std::string& text) { batches = command::list("--batch", text, 1, 1e6); }},
                          {"--callers", [&](const std::string& text) { callers = command::list("--callers", text, 1, 1024); }},
                          {"--seconds", [&](const std::string& text) { seconds = command::number("--seconds", text, 0.001, 3600); }},
                          {"--noise", [&](const std::string& text) {
                             if (text != "keys" && text != "given")
                               throw std::invalid_argument("--noise: expected keys or given, got '" + text + "'");
                             keyed = text == "keys";
                           }}});
  const auto start = Clock::now();
  const Generator generator(arguments.model, arguments.options);
  const std::chrono::duration<double, std::milli> loading = Clock::now() - start;
  std::cout << arguments.model << " (" << generator.runtime() << "), us per " << generator.row()
            << (keyed ? ", noise included" : ", latent numbers given") << "; loaded and tested in " << loading.count() << " ms\n" << std::setw(8) << "batch";
  for (const double n : callers) std::cout << std::setw(10) << n << (n > 1 ? " callers     x" : " caller       ");
  std::cout << "\n" << std::fixed;
  for (const double batch : batches) {
    const auto size = static_cast<std::size_t>(batch);
    const std::vector<float> conditions = arguments.rows(generator, size);
    std::cout << std::setw(8) << size;
    double alone = 0;
    for (const double n : callers) {
      const double time = 1e6 * measure(generator, conditions, size, static_cast<std::size_t>(n), keyed, seconds);
      if (alone == 0) alone = time * (n == 1 ? 1 : n);
      std::cout << std::setw(15) << std::setprecision(2) << time << std::setw(9) << alone / time;
    }
    std::cout << std::endl;
  }
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) { return command::run(argc, argv, "hepgan-bench", usage, bench); }
