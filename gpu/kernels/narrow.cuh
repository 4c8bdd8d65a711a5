// Which numbers have no room for what sums have: the largest float16 is 65504, while
// bfloat16 reaches as far as float.
#pragma once
#include "port.cuh"

template <class T>
constexpr bool narrow = false;
template <>
constexpr bool narrow<f16> = true;
