// One product of tiles by a warp, for the test of products.cuh. Golden: NumPy's @
//
//   sum (16, 16) += left (16, K) right (K, 16)
//
// LEFT: 0 rows_in_state, 1 rows_in_time, 2 weighted columns_in_time (then left is given
// as (K, 16), and its rows k are multiplied by weights). RIGHT: 0 columns_in_state (right
// is given as (16, K)), 1 columns_in_time (K, 16), 2 from_sums (16, K).
// Shared memory: left, then right, rows padded by 16 bytes. Macros: IO, PARTS, LEFT,
// RIGHT, K.
#include "port.cuh"
#include "products.cuh"

constexpr int PAD = per_vector<IO>();

__device__ __forceinline__ void stage(IO* to, const IO* from, int rows, int columns) {
  for (int i = threadIdx.x; i < rows * columns; i += 32)
    to[i / columns * (columns + PAD) + i % columns] = from[i];
}

// Which of a tile's numbers accumulator `i` of a lane is.
__device__ __forceinline__ int row_of(int i) { return threadIdx.x / 4 + i / 2 * 8; }
__device__ __forceinline__ int column_of(int i) { return threadIdx.x % 4 * 2 + i % 2; }

__device__ __forceinline__ void left_side(Left& a, const IO* tile, int k,
                                          const float* weights) {
  if (LEFT == 0) rows_in_state(a, tile + k, K + PAD);
  if (LEFT == 1) rows_in_time(a, tile + k, K + PAD);
  if (LEFT == 2) {
    Right columns[2];
    columns_in_time(columns, tile + k * (16 + PAD), 16 + PAD);
    weighted(a, columns, weights + k);
  }
}

__device__ __forceinline__ void right_side(Right (&b)[2], const IO* tile, int k) {
  if (RIGHT == 0) columns_in_state(b, tile + k, K + PAD);
  if (RIGHT == 1) columns_in_time(b, tile + k * (16 + PAD), 16 + PAD);
  if (RIGHT == 2) {
    float sums[2][4];
    for (int j = 0; j < 2; ++j)
      for (int i = 0; i < 4; ++i)
        sums[j][i] = to_float(tile[row_of(i) * (K + PAD) + k + 8 * j + column_of(i)]);
    from_sums(b[0], sums[0], sums[1], 0);
    from_sums(b[1], sums[0], sums[1], 2);
  }
}

extern "C" __global__ void __launch_bounds__(32)
    product(const IO* left, const IO* right, const float* weights, float* sum) {
  SSM_DYN_SMEM(IO, a);
  IO* const b = a + (K + 16) * (16 + PAD);
  if (LEFT == 2) stage(a, left, K, 16);
  else stage(a, left, 16, K);
  if (RIGHT == 1) stage(b, right, K, 16);
  else stage(b, right, 16, K);
  __syncthreads();
  float d[2][4];
  for (int j = 0; j < 2; ++j)
    for (int i = 0; i < 4; ++i) d[j][i] = sum[row_of(i) * 16 + 8 * j + column_of(i)];
  for (int k = 0; k < K; k += 16) {
    Left x;
    Right y[2];
    left_side(x, a, k, weights);
    right_side(y, b, k);
    multiply(d[0], x, y[0]);
    multiply(d[1], x, y[1]);
  }
  for (int j = 0; j < 2; ++j)
    for (int i = 0; i < 4; ++i) sum[row_of(i) * 16 + 8 * j + column_of(i)] = d[j][i];
}
