// After the first calls a generator allocates no memory: test_allocation MODEL.onnx. The global allocation functions count the
// requests of this program, without those of the ONNX Runtime library.
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#ifdef HEPGAN_HEADER  // as for hepgan-bench
#include HEPGAN_HEADER
#else
#include "hepgan/generator.hpp"
#include "hepgan/hits.hpp"
#define HEPGAN_GENERATOR hepgan::Generator
#endif

namespace {

std::atomic<std::size_t> ours{0};

void* allocate(std::size_t size, void* caller) {
  Dl_info where{};
  const bool known = dladdr(caller, &where) != 0 && where.dli_fname != nullptr;
  if (!known || std::string_view(where.dli_fname).find("onnxruntime") == std::string_view::npos) ++ours;
  void* const memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) { return allocate(size, __builtin_return_address(0)); }
[[gnu::noinline]] void* operator new[](std::size_t size) { return allocate(size, __builtin_return_address(0)); }
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: test_allocation MODEL.onnx\n", 2;
  const HEPGAN_GENERATOR generator(argv[1]);
  constexpr std::size_t n = 5;
  std::vector<float> conditions;
  for (std::size_t event = 0; event < n; ++event)
    for (const hepgan::Condition& c : generator.conditions())
      conditions.push_back(static_cast<float>(c.categories.empty() ? 0.5 * (c.low + c.high) : c.categories[0].second));
  const std::vector<hepgan::Key> keys(n);
  const std::vector<float> latent(n * generator.latent_size());
  std::vector<float> out(n * generator.width());
  std::mt19937_64 engine(1);
  const auto work = [&] {
    generator.generate(conditions, keys, out);
    generator.generate(conditions, latent, out);
    generator.generate(conditions, engine, out);
    generator.generate({conditions.data(), generator.conditions().size()}, keys[0], {out.data(), generator.width()});
  };
  std::vector<hepgan::Hit> hits;
  std::optional<hepgan::HitMaker> maker;
  if (generator.n_cells() > 0) maker.emplace(generator);
  const auto place = [&] {
    if (!maker) return;
    hits.clear();
    maker->make({out.data(), generator.n_cells()}, {0, {1, 2, 3}, {0, 1, 1}}, hits);
  };
  work();  // allocates the working memory
  place();
  const std::size_t before = ours;
  for (int turn = 0; turn < 10; ++turn) {
    work();
    place();
  }
  const std::size_t after = ours;
  const auto* const control = new std::string(100, 'x');
  const std::size_t counted = ours;
  delete control;
  std::cout << after - before << " allocations in steady state, " << counted - after << " in a string\n";
  return after == before && counted > after ? EXIT_SUCCESS : EXIT_FAILURE;
}
