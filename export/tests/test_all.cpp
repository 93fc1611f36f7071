// All test programs as one, so that the library is compiled once for them: test_all PROGRAM ARGUMENT...
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "harness.hpp"
#include "hepgan/geant4.hpp"
#include "hepgan/generator.hpp"
#include "hepgan/hits.hpp"
#include "toy_network.hpp"

// Their own #include lines find everything included already: what follows is inside the namespaces.
#define main run
namespace in_generator {
#include "test_generator.cpp"
}
namespace in_errors {
#include "test_errors.cpp"
}
namespace in_hits {
#include "test_hits.cpp"
}
namespace in_geant4 {
#include "test_geant4.cpp"
}
#undef main

int main(int argc, char** argv) {
  const std::map<std::string, int (*)(int, char**)> programs{
      {"generator", in_generator::run}, {"errors", in_errors::run}, {"hits", in_hits::run}, {"geant4", in_geant4::run}};
  if (argc < 2 || programs.count(argv[1]) == 0) return std::cerr << "usage: test_all PROGRAM ARGUMENT...\n", 2;
  return programs.at(argv[1])(argc - 1, argv + 1);
}
