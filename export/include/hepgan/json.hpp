// A small, strict JSON reader (RFC 8259) for the metadata of hepgan models. No dependencies.
#ifndef HEPGAN_JSON_HPP
#define HEPGAN_JSON_HPP

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <locale>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hepgan/errors.hpp"
#include "hepgan/finite.hpp"

namespace hepgan::json {

/// A value of a JSON document. Objects keep the order of their keys; look-up is linear, because objects are small here.
class Value {
 public:
  enum class Kind { null, boolean, number, string, array, object };

  Kind kind = Kind::null;
  bool boolean = false;
  double number = 0;
  std::string string;
  std::vector<Value> array;
  std::vector<std::pair<std::string, Value>> object;

  /// The member of an object. Throws ModelFileError if there is none.
  const Value& at(std::string_view key) const {
    if (const Value* member = find(key)) return *member;
    throw ModelFileError("metadata: expected the key '" + std::string(key) + "', got none");
  }

  /// The member of an object, or nullptr.
  const Value* find(std::string_view key) const {
    for (const auto& member : object)
      if (member.first == key) return &member.second;
    return nullptr;
  }

  // The content of a value of the kind. Each throws ModelFileError if the value is of another kind.
  const std::string& text() const { return need(Kind::string, "a string"), string; }
  double real() const { return need(Kind::number, "a number"), number; }
  const std::vector<Value>& items() const { return need(Kind::array, "an array"), array; }
  const std::vector<std::pair<std::string, Value>>& members() const { return need(Kind::object, "an object"), object; }

  /// A whole number >= 0. Throws ModelFileError if it is none.
  std::size_t count() const {
    const double value = real();
    if (value < 0 || value > 1e15 || value != std::floor(value))
      throw ModelFileError("metadata: expected a whole number >= 0, got " + std::to_string(value));
    return static_cast<std::size_t>(value);
  }

 private:
  void need(Kind wanted, const char* name) const {
    if (kind != wanted) throw ModelFileError(std::string("metadata: expected ") + name + ", got something else");
  }
};

/// A reader of one document; use parse().
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Value document() {
    Value value = read(0);
    space();
    if (position_ != text_.size()) fail("expected the end");
    return value;
  }

 private:
  static constexpr int deepest = 64;  // levels of nesting: metadata has 6; thousands would overflow the stack

  [[noreturn]] void fail(const std::string& what) const {
    throw ModelFileError("metadata: not JSON: " + what + " at character " + std::to_string(position_));
  }

  void space() {
    while (position_ < text_.size() && std::string_view(" \t\r\n").find(text_[position_]) != std::string_view::npos)
      ++position_;
  }

  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  bool accept(char c) {
    if (peek() != c || position_ >= text_.size()) return false;
    ++position_;
    return true;
  }

  void expect(std::string_view word) {
    if (text_.substr(position_, word.size()) != word) fail("expected " + std::string(word));
    position_ += word.size();
  }

  Value read(int depth) {
    if (depth > deepest) fail("nested too deeply");
    space();
    Value value;
    switch (peek()) {
      case '{':
        read_object(value, depth);
        break;
      case '[':
        read_array(value, depth);
        break;
      case '"':
        value.kind = Value::Kind::string;
        value.string = read_string();
        break;
      case 't':
        expect("true");
        value.kind = Value::Kind::boolean;
        value.boolean = true;
        break;
      case 'f':
        expect("false");
        value.kind = Value::Kind::boolean;
        break;
      case 'n':
        expect("null");
        break;
      default:
        value.kind = Value::Kind::number;
        value.number = read_number();
    }
    return value;
  }

  void read_object(Value& value, int depth) {
    value.kind = Value::Kind::object;
    expect("{");
    space();
    if (accept('}')) return;
    do {
      space();
      std::string key = read_string();
      if (value.find(key) != nullptr) fail("key '" + key + "' twice");
      space();
      expect(":");
      value.object.emplace_back(std::move(key), read(depth + 1));
      space();
    } while (accept(','));
    expect("}");
  }

  void read_array(Value& value, int depth) {
    value.kind = Value::Kind::array;
    expect("[");
    space();
    if (accept(']')) return;
    do {
      value.array.push_back(read(depth + 1));
      space();
    } while (accept(','));
    expect("]");
  }

  std::size_t digits() {
    const std::size_t start = position_;
    while (peek() >= '0' && peek() <= '9') ++position_;
    return position_ - start;
  }

  double read_number() {
    const std::size_t start = position_;
    accept('-');
    const bool zero = peek() == '0';
    const std::size_t whole = digits();
    if (whole == 0) fail("expected a value");
    if (zero && whole > 1) fail("a number with a leading zero");
    if (accept('.') && digits() == 0) fail("expected digits");
    if (peek() == 'e' || peek() == 'E') {
      ++position_;
      if (!accept('+')) accept('-');
      if (digits() == 0) fail("expected digits");
    }
    // not strtod, which follows the locale of the process
    std::istringstream stream{std::string(text_.substr(start, position_ - start))};
    stream.imbue(std::locale::classic());
    double number = 0;
    stream >> number;
    if (stream.fail() || !detail::is_finite(number)) fail("a number out of range");
    return number;
  }

  unsigned hexadecimal() {
    unsigned code = 0;
    for (int k = 0; k < 4; ++k) {
      const char c = peek();
      const auto digit = std::string_view("0123456789abcdef").find(static_cast<char>(c >= 'A' && c <= 'F' ? c + 32 : c));
      if (c == '\0' || digit == std::string_view::npos) fail("expected four hexadecimal digits");
      code = 16 * code + static_cast<unsigned>(digit);
      ++position_;
    }
    return code;
  }

  void append_code(std::string& result) {
    std::uint32_t code = hexadecimal();
    if (code >= 0xD800 && code < 0xDC00) {  // first half of a pair
      expect("\\u");
      const std::uint32_t second = hexadecimal();
      if (second < 0xDC00 || second > 0xDFFF) fail("half a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
    } else if (code >= 0xDC00 && code <= 0xDFFF) {
      fail("half a surrogate pair");
    }
    const auto byte = [&](std::uint32_t bits) { result += static_cast<char>(static_cast<unsigned char>(bits)); };
    if (code < 0x80) {
      byte(code);
    } else if (code < 0x800) {
      byte(0xC0 | (code >> 6));
      byte(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      byte(0xE0 | (code >> 12));
      byte(0x80 | ((code >> 6) & 0x3F));
      byte(0x80 | (code & 0x3F));
    } else {
      byte(0xF0 | (code >> 18));
      byte(0x80 | ((code >> 12) & 0x3F));
      byte(0x80 | ((code >> 6) & 0x3F));
      byte(0x80 | (code & 0x3F));
    }
  }

  std::string read_string() {
    expect("\"");
    std::string result;
    while (!accept('"')) {
      if (position_ >= text_.size()) fail("a string without end");
      const char c = text_[position_++];
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
      if (c != '\\') {
        result += c;
        continue;
      }
      const char escaped = peek();
      ++position_;
      switch (escaped) {
        case '"':
        case '\\':
        case '/':
          result += escaped;
          break;
        case 'b':
          result += '\b';
          break;
        case 'f':
          result += '\f';
          break;
        case 'n':
          result += '\n';
          break;
        case 'r':
          result += '\r';
          break;
        case 't':
          result += '\t';
          break;
        case 'u':
          append_code(result);
          break;
        default:
          fail("an unknown escape");
      }
    }
    return result;
  }

  std::string_view text_;
  std::size_t position_ = 0;
};

/// Read a document. Throws ModelFileError that names the place of the first mistake.
inline Value parse(std::string_view text) { return Parser(text).document(); }

}  // namespace hepgan::json

#endif  // HEPGAN_JSON_HPP
