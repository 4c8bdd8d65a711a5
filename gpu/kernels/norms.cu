// Norms over channels. Golden: ssmref/golden/layers.py::rms_norm, rms_norm_gated and
// layer_norm.
//
//   v = x silu(z) if GATE is 1, else x;   m = mean(v) if CENTRED, else 0
//   y = (v - m) / sqrt(mean((v - m)^2) + eps) weight + bias, times silu(z) if GATE is 2
//
// A team of TEAM threads owns a group of channels of a row: lanes of a warp, or a whole
// block. A thread holds HELD vectors in registers, so that x is read once; what a group
// has beyond that is read again. Sums are trees: over a vector, over the team, in float.
//
// Layout: x, z, y (rows, groups, size), rows of x and z with strides of their own; weight
// and bias (groups, size).
// Shared memory: a float for each warp of a team.
// Macros: IO (float, bf16, f16), VEC (16 bytes of IO, or 1), TEAM (1 to 32 or 128 to 512,
// a power of two), HELD, GATE (0, 1, 2), CENTRED (0, 1).
#include "port.cuh"
#include "activations.cuh"
#include "lanes.cuh"
#include "teams.cuh"

constexpr int THREADS = TEAM > 128 ? TEAM : 128;
constexpr int ROWS = TEAM > 32 ? 1 : THREADS / TEAM;
constexpr int LANES = TEAM > 32 ? 32 : TEAM;
// Threads per multiprocessor that the registers shall be enough for.
constexpr int BUSY = VEC == 8 ? 768 : 1024;
constexpr int BLOCKS = THREADS < BUSY ? BUSY / THREADS : 1;
static_assert(TEAM <= 32 || TEAM >= 128, "a team is a part of a warp, or a block");

// The sum of a number of each thread of the team, for all of them.
__device__ __forceinline__ float total(float x) {
  x = team_sum<LANES>(x);
  if constexpr (TEAM > 32) {
    SSM_DYN_SMEM(float, parts);
    __syncthreads();  // the parts of the sum before have been read
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0.f;
#pragma unroll
    for (int warp = 0; warp < TEAM / 32; ++warp) x += parts[warp];
  }
  return x;
}

__device__ __forceinline__ float tree(const float (&x)[1]) { return x[0]; }
template <int N>
__device__ __forceinline__ float tree(const float (&x)[N]) {
  float half[N / 2];
#pragma unroll
  for (int i = 0; i < N / 2; ++i) half[i] = x[i] + x[i + N / 2];
  return tree(half);
}

// The groups of one row that this team owns.
struct Group {
  const IO *x, *z;
  int vectors;

  // Vector i of v; the last one again beyond the end, as zeros, so that loads of
  // several vectors do not wait for each other.
  __device__ __forceinline__ void value(float (&v)[VEC], int i) const {
    const int own = min(i, vectors - 1) * VEC;
    load_lanes<VEC>(v, x + own);
    if constexpr (GATE == 1) gate(v, own);
#pragma unroll
    for (int k = 0; k < VEC; ++k) v[k] = i < vectors ? v[k] : 0.f;
  }

  __device__ __forceinline__ void gate(float (&v)[VEC], int at) const {
    float other[VEC];
    load_lanes<VEC>(other, z + at);
#pragma unroll
    for (int k = 0; k < VEC; ++k) v[k] *= silu(other[k]);
  }
};

// Call use(vector, number) for each vector of this thread, those in registers first.
template <class Use>
__device__ __forceinline__ void each(const Group& group, float (&held)[HELD][VEC],
                                     int lane, Use use) {
#pragma unroll
  for (int j = 0; j < HELD; ++j) use(held[j], lane + j * TEAM);
  for (int i = lane + HELD * TEAM; i < group.vectors; i += TEAM) {
    float v[VEC];
    group.value(v, i);
    use(v, i);
  }
}

__device__ __forceinline__ void squares(float (&square)[VEC], const float (&v)[VEC],
                                        float mean) {
#pragma unroll
  for (int k = 0; k < VEC; ++k) square[k] = (v[k] - mean) * (v[k] - mean);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    normalise(const IO* __restrict__ x, const float* __restrict__ weight,
         const float* __restrict__ bias, const IO* __restrict__ z, IO* __restrict__ y,
         long long x_step, long long z_step, int rows, int groups, int size,
         float eps) {
  const long long items = static_cast<long long>(rows) * groups;
  const int lane = threadIdx.x % TEAM;
  const long long item = static_cast<long long>(blockIdx.x) * ROWS + threadIdx.x / TEAM;
  // Teams beyond the last row repeat it: sums need every lane of a warp.
  const long long own = min(item, items - 1);
  const long long row = own / groups;
  const int first = static_cast<int>(own % groups) * size;
  const Group group{x + row * x_step + first, GATE ? z + row * z_step + first : nullptr,
                    size / VEC};

  float held[HELD][VEC];
#pragma unroll
  for (int j = 0; j < HELD; ++j) group.value(held[j], lane + j * TEAM);

  float mean = 0.f;
  if constexpr (CENTRED) {
    each(group, held, lane, [&](float (&v)[VEC], int) { mean += tree(v); });
    mean = total(mean) / size;
  }
  float square = 0.f;
  each(group, held, lane, [&](float (&v)[VEC], int i) {
    float part[VEC];
    squares(part, v, mean);
    if (i < group.vectors) square += tree(part);
  });
  const float factor = 1.f / sqrtf(total(square) / size + eps);

  each(group, held, lane, [&](float (&v)[VEC], int i) {
    if (i >= group.vectors || item >= items) return;
    const int at = i * VEC;
    float other[VEC];
    fill(other, 1.f);
    if (weight) load_lanes<VEC>(other, weight + first + at);
#pragma unroll
    for (int k = 0; k < VEC; ++k) v[k] = (v[k] - mean) * factor * other[k];
    if constexpr (GATE == 2) group.gate(v, at);
    if (bias) {
      load_lanes<VEC>(other, bias + first + at);
#pragma unroll
      for (int k = 0; k < VEC; ++k) v[k] += other[k];
    }
    store_lanes<VEC>(y + own * size + at, v);
  });
}
