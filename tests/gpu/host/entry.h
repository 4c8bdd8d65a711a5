// How Python calls a kernel: its parameters by type, and its arguments by address, as a
// driver takes them.
#pragma once

#include <cstdio>
#include <utility>

#include "numbers.h"
#include "runtime.h"

namespace ssm {

// "f4" and so on, as in NumPy; "*f4" points to one; "16 bytes" for what is not a
// number.
template <class T>
struct Code {
  static int write(char* text, std::size_t room) {
    return std::snprintf(text, room, "%zu", sizeof(T));
  }
};

#define SSM_CODE(T, NAME)                            \
  template <>                                        \
  struct Code<T> {                                   \
    static int write(char* text, std::size_t room) { \
      return std::snprintf(text, room, NAME);        \
    }                                                \
  };
SSM_CODE(void, "void")
SSM_CODE(bool, "b1")
SSM_CODE(int, "i4")
SSM_CODE(unsigned, "u4")
SSM_CODE(long, "i8")
SSM_CODE(unsigned long, "u8")
SSM_CODE(long long, "i8")
SSM_CODE(unsigned long long, "u8")
SSM_CODE(float, "f4")
SSM_CODE(double, "f8")
SSM_CODE(float2, "c8")
SSM_CODE(bf16, "bf16")
SSM_CODE(f16, "f2")
#undef SSM_CODE

template <class T>
struct Code<const T> : Code<T> {};

template <class T>
struct Code<T*> {
  static int write(char* text, std::size_t room) {
    *text = '*';
    return 1 + Code<T>::write(text + 1, room - 1);
  }
};

template <auto KERNEL>
struct Entry;

template <class... Parameters, void (*KERNEL)(Parameters...)>
struct Entry<KERNEL> {
  static void body(void** arguments) {
    call(arguments, std::index_sequence_for<Parameters...>());
  }
  template <std::size_t... I>
  static void call([[maybe_unused]] void** arguments, std::index_sequence<I...>) {
    KERNEL(*static_cast<Parameters*>(arguments[I])...);
  }
  // The codes of the parameters with spaces between them.
  static const char* signature() {
    static char text[32 * sizeof...(Parameters) + 1];
    char* end = text;
    ((end += Code<Parameters>::write(end, 30), *end++ = ' '), ...);
    *end = 0;
    return text;
  }
};

}  // namespace ssm

template <auto KERNEL>
inline int ssm_run(void* launch) {
  static_cast<ssm::Launch*>(launch)->body = ssm::Entry<KERNEL>::body;
  return ssm::run(*static_cast<ssm::Launch*>(launch));
}

template <auto KERNEL>
inline const char* ssm_signature() {
  return ssm::Entry<KERNEL>::signature();
}

// What the builder of a module writes for each kernel; BOUND is that of its threads. A
// kernel's macros are defined where this stands: no name here may be one of them.
#define SSM_EXPORTED extern "C" __attribute__((visibility("default")))
#define SSM_ENTRY(NAME, BOUND)                                                      \
  SSM_EXPORTED int ssm_launch_##NAME(void* ssm_launch) {                            \
    return ssm_run<NAME>(ssm_launch);                                               \
  }                                                                                 \
  SSM_EXPORTED const char* ssm_signature_##NAME() { return ssm_signature<NAME>(); } \
  SSM_EXPORTED int ssm_bound_##NAME() { return BOUND; }
// The names of all of them, with spaces between them.
#define SSM_NAMES(NAMES) \
  SSM_EXPORTED const char* ssm_names() { return NAMES; }
