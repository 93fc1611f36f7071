// The parts of an ONNX file that hepgan checks before a runtime reads it: the description, and digests of weights and graph.
#ifndef HEPGAN_ONNXFILE_HPP
#define HEPGAN_ONNXFILE_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hepgan/errors.hpp"

namespace hepgan {

/// SHA-256 (FIPS 180-4).
class Sha256 {
 public:
  void update(std::string_view bytes) {
    length_ += bytes.size();
    while (!bytes.empty()) {
      const std::size_t part = std::min(bytes.size(), block_.size() - filled_);
      std::memcpy(block_.data() + filled_, bytes.data(), part);
      bytes.remove_prefix(part);
      filled_ += part;
      if (filled_ == block_.size()) compress();
    }
  }

  /// The digest of all bytes so far, in hexadecimal digits. Call it once, at the end.
  std::string hexadecimal() {
    const std::uint64_t bits = 8 * length_;
    update(std::string_view("\x80", 1));
    while (filled_ != 56) update(std::string_view("\0", 1));
    std::string ending;
    for (int shift = 56; shift >= 0; shift -= 8) ending += static_cast<char>(static_cast<unsigned char>(bits >> static_cast<unsigned>(shift)));
    update(ending);
    std::string text;
    for (const std::uint32_t word : state_)
      for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[(word >> static_cast<unsigned>(shift)) & 15U];
    return text;
  }

 private:
  static std::uint32_t rotate(std::uint32_t x, unsigned n) { return (x >> n) | (x << (32U - n)); }

  void compress() {
    static constexpr std::array<std::uint32_t, 64> constants{
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
        0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
        0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
        0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
        0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
        0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    std::array<std::uint32_t, 64> w{};
    for (std::size_t k = 0; k < 16; ++k)
      w[k] = std::uint32_t{block_[4 * k]} << 24U | std::uint32_t{block_[4 * k + 1]} << 16U | std::uint32_t{block_[4 * k + 2]} << 8U |
             std::uint32_t{block_[4 * k + 3]};
    for (std::size_t k = 16; k < 64; ++k)
      w[k] = w[k - 16] + (rotate(w[k - 15], 7) ^ rotate(w[k - 15], 18) ^ (w[k - 15] >> 3U)) + w[k - 7] +
             (rotate(w[k - 2], 17) ^ rotate(w[k - 2], 19) ^ (w[k - 2] >> 10U));
    auto [a, b, c, d, e, f, g, h] = state_;
    for (std::size_t k = 0; k < 64; ++k) {
      const std::uint32_t one = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + constants[k] + w[k];
      const std::uint32_t two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = d + one;
      d = c;
      c = b;
      b = a;
      a = one + two;
    }
    const std::array<std::uint32_t, 8> change{a, b, c, d, e, f, g, h};
    for (std::size_t k = 0; k < 8; ++k) state_[k] += change[k];
    filled_ = 0;
  }

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> block_{};
  std::size_t filled_ = 0;
  std::uint64_t length_ = 0;
};

/// A reader of an ONNX file. The file is a protocol buffer: fields one after the other, each a number and its bytes.
class OnnxFile {
 public:
  /// Read the bytes of a file. Throws ModelFileError if they are not those of an ONNX file.
  explicit OnnxFile(std::string_view bytes) {
    std::vector<std::pair<std::string_view, std::string_view>> weights;  // name, raw bytes
    bool has_graph = false;
    Sha256 content;
    for_each(bytes, [&](std::uint64_t number, std::string_view value, std::string_view field) {
      if (number == 14) return read_property(value);
      content.update(field);
      if (number != 7) return;
      has_graph = true;
      for_each(value, [&](std::uint64_t inner, std::string_view tensor, std::string_view) {
        if (inner == 5) weights.push_back(read_tensor(tensor));
      });
    });
    if (!has_graph) throw ModelFileError("expected a graph, got none");
    std::sort(weights.begin(), weights.end());
    Sha256 total;
    for (const auto& [name, raw] : weights) {
      total.update(name);
      total.update(std::string_view("\0", 1));
      total.update(raw);
    }
    weights_ = total.hexadecimal();
    content_ = content.hexadecimal();
  }

  /// The metadata entry "hepgan", if there is one.
  const std::optional<std::string>& description() const { return description_; }

  /// The sha256 over all initialisers in the order of their names: of each its name, a zero byte, its raw bytes.
  const std::string& weights() const { return weights_; }

  /// The sha256 of the file without its metadata entries.
  const std::string& content() const { return content_; }

 private:
  /// Take a number of variable length off the front.
  static std::uint64_t variable(std::string_view& bytes) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (bytes.empty()) throw ModelFileError("cut short");
      const auto byte = static_cast<unsigned char>(bytes.front());
      bytes.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
      if (byte < 0x80U) return value;
    }
    throw ModelFileError("a number of more than 64 bits");
  }

  /// Call `use` for each field with its number, its bytes (empty if its value is a number), and the complete field as in the file.
  template <class Use>
  static void for_each(std::string_view bytes, Use use) {
    while (!bytes.empty()) {
      const std::string_view start = bytes;
      const std::uint64_t tag = variable(bytes);
      std::size_t size = 0;
      switch (tag & 7U) {
        case 0:
          variable(bytes);
          break;
        case 1:
          size = 8;
          break;
        case 2:
          size = static_cast<std::size_t>(variable(bytes));
          break;
        case 5:
          size = 4;
          break;
        default:
          throw ModelFileError("a field of an unknown kind");
      }
      if (size > bytes.size()) throw ModelFileError("cut short");
      const std::string_view value = (tag & 7U) == 2 ? bytes.substr(0, size) : std::string_view();
      bytes.remove_prefix(size);
      use(tag >> 3U, value, start.substr(0, start.size() - bytes.size()));
    }
  }

  /// Name and raw bytes of a tensor.
  static std::pair<std::string_view, std::string_view> read_tensor(std::string_view bytes) {
    std::pair<std::string_view, std::string_view> result;
    for_each(bytes, [&](std::uint64_t number, std::string_view value, std::string_view) {
      if (number == 8) result.first = value;
      if (number == 9) result.second = value;
    });
    return result;
  }

  void read_property(std::string_view bytes) {
    std::string_view key, text;
    for_each(bytes, [&](std::uint64_t number, std::string_view value, std::string_view) {
      if (number == 1) key = value;
      if (number == 2) text = value;
    });
    if (key == "hepgan") description_ = std::string(text);
  }

  std::optional<std::string> description_;
  std::string weights_, content_;
};

}  // namespace hepgan

#endif  // HEPGAN_ONNXFILE_HPP
