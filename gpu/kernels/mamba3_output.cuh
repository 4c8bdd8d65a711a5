// What the scan of Mamba-3 (mamba3_scan.cu) takes and gives: outputs with norm, gate and
// the sum over ranks; states.
#pragma once
#include "mamba3_tiles.cuh"
#include "teams.cuh"

// Lay y of this warp's columns out by rows.
__device__ __forceinline__ void lay_out(const Tile& y, const Desk& desk) {
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  float* const own = desk.out + threadIdx.x / 32 * 16 + 2 * c;
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int lower = 0; lower < 2; ++lower) {
        const float pair[2] = {y[m][k][2 * lower], y[m][k][2 * lower + 1]};
        store<2>(own + (16 * m + 8 * lower + g) * OUT_STRIDE + 8 * k, pair);
      }
}

// What becomes of y; what is null is left out.
struct Output {
  bool skipped, gated;
  float D, eps;
  int heads, headdim;

  // D x of four columns of a token.
  __device__ __forceinline__ void skip(float (&x)[4], const Desk& desk, int t,
                                       int p) const {
    if (!skipped) return;
    load<4>(x, desk.x + t * VALUE_STRIDE + p);
#pragma unroll
    for (int k = 0; k < 4; ++k) x[k] *= D;
  }

  // y + D v of four columns of a row, from D x.
  __device__ __forceinline__ void take(float (&y)[4], const Desk& desk, int row, int r,
                                       int p, const float (&x)[4]) const {
    load<4>(y, desk.out + row * OUT_STRIDE + p);
    if (!skipped) return;
    float factor[4];
    load<4>(factor, desk.mix_x + r * WIDTH + p);
#pragma unroll
    for (int k = 0; k < 4; ++k) y[k] = fmaf(x[k], factor[k], y[k]);
  }

  // What the norm multiplies each row with: 16 lanes for a row, in place of its decay.
  __device__ __forceinline__ void measure(const Desk& desk, int rows,
                                          const Sizes& n) const {
    const int p = threadIdx.x % 16 * 4;
#pragma unroll 1
    for (int base = 0; base < rows; base += THREADS / 16) {
      const int own = base + static_cast<int>(threadIdx.x) / 16, row = min(own, rows - 1);
      const int t = desk.token[row];
      float x[4], v[4], square = 0.f;
      skip(x, desk, t, p);
      take(v, desk, row, row - t * n.ranks, p, x);
#pragma unroll
      for (int k = 0; k < 4; ++k) square += p + k < n.width ? v[k] * v[k] : 0.f;
      square = team_sum<16>(square);
      if (p == 0 && own == row) desk.row_decay[row] = 1.f / sqrtf(square / headdim + eps);
    }
  }

  // As `finish`, of one rank without weights and norm, and rows of whole vectors.
  __device__ __forceinline__ void finish_bare(const Desk& desk, int at, int tokens,
                                               const Sizes& n) const {
    const int p = threadIdx.x % 16 * 4, first = threadIdx.x / 16;
    if (p >= n.width) return;
    constexpr int STEP = THREADS / 16;
    const int token = heads * headdim;
    const float* out = desk.out + first * OUT_STRIDE + p;
    const IO* x = desk.x + first * VALUE_STRIDE + p;
    const int to_gate = desk.z - desk.x;
    IO* to = desk.places->y + static_cast<long long>(at) * token + p + first * token;
#pragma unroll 2
    for (int t = first; t < tokens; t += STEP) {
      float y[4];
      load<4>(y, out);
      if (skipped) {
        float v[4];
        load<4>(v, x);
#pragma unroll
        for (int k = 0; k < 4; ++k) y[k] = fmaf(D, v[k], y[k]);
      }
      if (gated) {
        float gate[4];
        load<4>(gate, x + to_gate);
#pragma unroll
        for (int k = 0; k < 4; ++k) y[k] *= silu(gate[k]);
      }
      store<4>(to, y);
      out += STEP * OUT_STRIDE, x += STEP * VALUE_STRIDE, to += STEP * token;
    }
  }

  // Norm, gate and sum over the ranks of the tokens of a chunk, which begins at token `at`
  // of the segment. A thread has four columns of every eighth token.
  template <bool NORMED>
  __device__ __forceinline__ void finish(const Desk& desk, int at, int tokens,
                                         const Sizes& n) const {
    const int p = threadIdx.x % 16 * 4, first = threadIdx.x / 16, token = heads * headdim;
    if (p >= n.width) return;
    IO* const to = desk.places->y + static_cast<long long>(at) * token + p;
#pragma unroll 1
    for (int t = first; t < tokens; t += THREADS / 16) {
      float x[4], gate[4], total[4] = {};
      skip(x, desk, t, p);
      if (gated) load<4>(gate, desk.z + t * VALUE_STRIDE + p);
#pragma unroll 1
      for (int r = 0; r < n.ranks; ++r) {
        const int row = t * n.ranks + r;
        float v[4], factor[4];
        take(v, desk, row, r, p, x);
        if (NORMED) normalise(desk.places->norm_weight + p, v, desk.row_decay[row], p, n);
        if (gated) {
          load<4>(factor, desk.mix_z + r * WIDTH + p);
#pragma unroll
          for (int k = 0; k < 4; ++k) v[k] *= silu(factor[k] * gate[k]);
        }
        load<4>(factor, desk.mix_o + r * WIDTH + p);
#pragma unroll
        for (int k = 0; k < 4; ++k) total[k] = fmaf(factor[k], v[k], total[k]);
      }
      if (n.whole_values) store<4>(to + t * token, total);
      else store_some<4>(to + t * token, total, n.width - p);
    }
  }

  __device__ __forceinline__ void normalise(const float* weight, float (&v)[4],
                                            float scale, int p, const Sizes& n) const {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      v[k] *= p + k < n.width ? scale * weight[k] : 0.f;
  }

  // Outputs of every rank, for a norm of their own.
  __device__ __forceinline__ void give_raw(const Desk& desk, int at, int tokens,
                                           const Sizes& n) const {
    const int p = threadIdx.x % 16 * 4, token = heads * n.ranks * headdim;
    if (p >= n.width) return;
    float* const to = desk.places->raw + static_cast<long long>(at) * token + p;
#pragma unroll 1
    for (int row = threadIdx.x / 16; row < tokens * n.ranks; row += THREADS / 16) {
      const int t = desk.token[row], r = row - t * n.ranks;
      float x[4], v[4];
      skip(x, desk, t, p);
      take(v, desk, row, r, p, x);
      store_some<4>(to + t * token + r * headdim, v, n.width - p);
    }
  }
};

// The sequence before a segment.
struct Before {
  const float *ssm, *k, *v;  // of the head; k by ranks that are `plane` apart
  int plane;
  float weight;              // of v k^T
};

// A warp's part of the state, from memory, with what the token before still adds.
__device__ __forceinline__ void take_state(State& h, const Before& from,
                                           const Desk& desk, const Sizes& n) {
  const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
  for (int tile = 0; tile < 2 * STEPS; ++tile)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int p = own + i / 2 * 8, at = 8 * tile + 2 * (lane % 4) + i % 2;
      const bool there = from.ssm && p < n.width && at < n.size;
      h[tile][i] = there ? from.ssm[p * n.size + at] : 0.f;
    }
  if (!from.k) return;
#pragma unroll 1
  for (int r = 0; r < n.ranks; ++r) {
    float v[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int p = own + 8 * i;
      v[i] = p < n.width ? from.weight * desk.mix_x[r * WIDTH + p] * from.v[p] : 0.f;
    }
#pragma unroll
    for (int tile = 0; tile < 2 * STEPS; ++tile)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = 8 * tile + 2 * (lane % 4) + i;
        const float k = at < n.size ? from.k[r * from.plane + at] : 0.f;
        h[tile][i] = fmaf(v[0], k, h[tile][i]);
        h[tile][i + 2] = fmaf(v[1], k, h[tile][i + 2]);
      }
  }
}

__device__ __forceinline__ void give_state(const State& h, float* to, const Sizes& n) {
  const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
  for (int tile = 0; tile < 2 * STEPS; ++tile)
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const int p = own + i / 2 * 8, at = 8 * tile + 2 * (lane % 4);
      if (p >= n.width || at >= n.size) continue;
      const float pair[2] = {h[tile][i], h[tile][i + 1]};
      store<2>(to + p * n.size + at, pair);
    }
}
