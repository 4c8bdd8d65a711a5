// One token of Mamba-3, one or several ranks. Golden: ssmref/golden/mamba3.py::siso_step
// and mimo_step.
//
//   theta = theta + pi tanh(angles) dt                                   modulo 2 pi
//   k[r], q[r] = rotary(B[r] + B_bias[r], theta), rotary(C[r] + C_bias[r], theta)
//   v[r], w[r] = mimo_x[r] x, mimo_x[r] (x of the token before)
//   alpha, lambda = exp(A dt), sigmoid(trap)
//   h = alpha h + sum_r (1 - lambda) dt alpha w[r] k_before[r]^T + lambda dt v[r] k[r]^T
//   y = sum_r mimo_o[r] norm(h q[r] + D v[r]) silu(mimo_z[r] z)
//
// A block owns a head of a row of the batch and of its slot. What all rows of the state
// need, keys, queries and values of every rank, is brought to shared memory once: there
// the keys have their weights. Then a team of LANES lanes owns ROWS neighbouring rows of
// the state at a time, VEC numbers of a row per lane and access; the loads of the first
// rows fly during the preparation, those of the next ones while sums are added up.
// Limit: bytes, 8 for each number of the state.
//
// Layout: x, z, y (batch, heads, headdim); dt, A, trap (batch, heads); angles (batch,
// heads, pairs); B, C (batch, RANKS, groups, size): rows of the batch have strides of
// their own. States, old and new ones: angle (slots, heads, pairs), ssm (slots, heads,
// headdim, size), k (slots, RANKS, heads, size), v (slots, heads, headdim). B_bias, C_bias
// (heads, RANKS, size); mimo_x, mimo_z, mimo_o (heads, RANKS, headdim); norm_weight
// (heads, headdim); D (heads). Each option may be null.
// Shared memory: see Desk.
// Macros: IO (float, bf16, f16), VEC (4 or 1), LANES (4 to 32, a power of two), RANKS.
#include "port.cuh"
#include "activations.cuh"
#include "angles.cuh"
#include "lanes.cuh"
#include "teams.cuh"

#define THREADS 256
#define ROWS 4
#define PI 3.14159265f
constexpr int TEAMS = THREADS / LANES;

// What the threads of a block share. Rows are as long as their size, rounded up to 4.
struct Desk {
  float *keys, *before, *queries;  // RANKS rows of the state's size each
  float *now, *early, *out;        // RANKS rows of headdim each: v, w, and y of a rank
  float* scale;                    // RANKS: of the norm
  int size, headdim;               // of a row

  __device__ __forceinline__ Desk(float* memory, int state, int width)
      : size((state + 3) / 4 * 4), headdim((width + 3) / 4 * 4) {
    keys = memory, before = keys + RANKS * size, queries = before + RANKS * size;
    now = queries + RANKS * size, early = now + RANKS * headdim;
    out = early + RANKS * headdim, scale = out + RANKS * headdim;
  }
};

// What a token does to the state of a head.
struct Weights {
  float step, decay, now, before;

  __device__ __forceinline__ Weights(float step, float A, float trap)
      : step(step),
        decay(expf(step * A)),
        now(sigmoid(trap) * step),
        before(sigmoid(-trap) * step * decay) {}
};

// B or C of one head, with its bias, by rank and coordinate.
struct Projection {
  const IO* x;
  const float* bias;
  int rank, size;  // elements of x and of bias from rank to rank

  __device__ __forceinline__ float operator()(int r, int n) const {
    return to_float(x[r * rank + n]) + (bias ? bias[r * size + n] : 0.f);
  }
};

struct Turn {
  int first, second;  // the coordinates of a pair
  float sine, cosine;

  __device__ __forceinline__ void operator()(const Projection& from, int r, float& a,
                                             float& b) const {
    const float x = from(r, first), y = from(r, second);
    a = x * cosine - y * sine;
    b = x * sine + y * cosine;
  }
};

// Turn the keys and queries of one rank and pair of coordinates; keys go to the new state
// as they are, and to the desk with their weight.
__device__ __forceinline__ void turn_pair(const Desk& desk, const Turn& turn, int r,
                                          const Projection& B, const Projection& C,
                                          float weight, float* next_k) {
  float a, b;
  turn(B, r, a, b);
  next_k[turn.first] = a;
  next_k[turn.second] = b;
  desk.keys[r * desk.size + turn.first] = weight * a;
  desk.keys[r * desk.size + turn.second] = weight * b;
  turn(C, r, a, b);
  desk.queries[r * desk.size + turn.first] = a;
  desk.queries[r * desk.size + turn.second] = b;
}

// Decay one vector of each of the rows p to p + ROWS, and add all products to it.
__device__ __forceinline__ void advance(float (&h)[ROWS][VEC], const Desk& desk, int p,
                                        int n, float decay) {
#pragma unroll
  for (int i = 0; i < ROWS; ++i)
#pragma unroll
    for (int k = 0; k < VEC; ++k) h[i][k] *= decay;
#pragma unroll
  for (int r = 0; r < 2 * RANKS; ++r) {
    // Ranks of this token, then those of the token before: rows follow each other.
    float key[VEC], value[ROWS];
    load<VEC>(key, desk.keys + r * desk.size + n);
    load<ROWS>(value, desk.now + r * desk.headdim + p);
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
      for (int k = 0; k < VEC; ++k) h[i][k] += value[i] * key[k];
  }
}

__device__ __forceinline__ void read_out(float (&sums)[RANKS][ROWS],
                                         const float (&h)[ROWS][VEC], const Desk& desk,
                                         int n) {
#pragma unroll
  for (int r = 0; r < RANKS; ++r) {
    float query[VEC];
    load<VEC>(query, desk.queries + r * desk.size + n);
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
      for (int k = 0; k < VEC; ++k) sums[r][i] += h[i][k] * query[k];
  }
}

// The keys of the token before, with their weight.
__device__ __forceinline__ void bring_keys(const Desk& desk, const float* k, int step,
                                           int size, float weight) {
#pragma unroll 1
  for (int i = threadIdx.x; i < RANKS * size; i += THREADS) {
    const int r = i / size, n = i % size;
    desk.before[r * desk.size + n] = weight * k[r * step + n];
  }
}

// The values of this token and of the one before, by rank.
__device__ __forceinline__ void bring_values(const Desk& desk, const IO* x,
                                             const float* v, const float* mimo_x,
                                             float* next_v, int headdim) {
#pragma unroll 1
  for (int i = threadIdx.x; i < RANKS * headdim; i += THREADS) {
    const int r = i / headdim, p = i % headdim;
    const float factor = mimo_x ? mimo_x[i] : 1.f, now = to_float(x[p]);
    desk.now[r * desk.headdim + p] = factor * now;
    desk.early[r * desk.headdim + p] = factor * v[p];
    if (r == 0) next_v[p] = now;
  }
}

// Pass over the rows of the state of a head: write the next ones, and the outputs of
// every rank, with D v, to the desk. `h` has the first rows of this team.
__device__ __forceinline__ void sweep(const Desk& desk, float (&h)[ROWS][VEC],
                                      const float* ssm, float* next, int headdim,
                                      int size, float decay, const float* D) {
  const int lane = threadIdx.x % LANES, vectors = size / VEC;
  const int mine = lane / (LANES / ROWS);
  for (int base = 0; base < headdim; base += TEAMS * ROWS) {
    const int p = base + threadIdx.x / LANES * ROWS;
    float sums[RANKS][ROWS];
#pragma unroll
    for (int r = 0; r < RANKS; ++r) fill(sums[r], 0.f);
    for (int i = lane; i < vectors && p < headdim; i += LANES) {
      advance(h, desk, p, i * VEC, decay);
      store_rows(next + i * VEC, h, p, headdim, size);
      read_out(sums, h, desk, i * VEC);
      const bool further = i + LANES < vectors;
      const int next_p = further ? p : p + TEAMS * ROWS;
      const int next_i = further ? i + LANES : lane;
      if (next_p < headdim) load_rows(h, ssm + next_i * VEC, next_p, headdim, size);
    }
#pragma unroll
    for (int r = 0; r < RANKS; ++r) {
      const float sum = team_sums<LANES>(sums[r]);
      const int at = r * desk.headdim + p + mine;
      if (lane % (LANES / ROWS) == 0 && p + mine < headdim)
        desk.out[at] = D ? sum + *D * desk.now[at] : sum;
    }
  }
}

// Set desk.scale to what the norm multiplies each rank with: a warp per rank.
__device__ __forceinline__ void measure(const Desk& desk, int headdim, float eps) {
  for (int r = threadIdx.x / 32; r < RANKS; r += THREADS / 32) {
    float square = 0.f;
#pragma unroll 1
    for (int p = threadIdx.x % 32; p < headdim; p += 32) {
      const float y = desk.out[r * desk.headdim + p];
      square += y * y;
    }
    square = team_sum<32>(square);
    if (threadIdx.x % 32 == 0) desk.scale[r] = 1.f / sqrtf(square / headdim + eps);
  }
}

// Norm, gate and sum over the ranks; what is null is left out.
__device__ __forceinline__ void finish(const Desk& desk, IO* y, const IO* z,
                                       const float* norm_weight, const float* mimo_z,
                                       const float* mimo_o, int headdim) {
#pragma unroll 1
  for (int p = threadIdx.x; p < headdim; p += THREADS) {
    const float gate = z ? to_float(z[p]) : 0.f;
    float total = 0.f;
#pragma unroll 1
    for (int r = 0; r < RANKS; ++r) {
      const int i = r * headdim + p;
      float value = desk.out[r * desk.headdim + p];
      if (norm_weight) value *= desk.scale[r] * norm_weight[p];
      if (z) value *= silu(mimo_z ? mimo_z[i] * gate : gate);
      total += mimo_o ? mimo_o[i] * value : value;
    }
    y[p] = from_float<IO>(total);
  }
}

__device__ __forceinline__ const float* past(const float* p, int count) {
  return p ? p + count : nullptr;
}

extern "C" __global__ void __launch_bounds__(THREADS, RANKS == 1 ? 3 : 2)
    mamba3_step(
        const IO* __restrict__ x, const IO* __restrict__ dt, const IO* __restrict__ A,
        const IO* __restrict__ B, const IO* __restrict__ C,
        const IO* __restrict__ trap, const IO* __restrict__ angles,
        const IO* __restrict__ z, long long x_step, long long dt_step,
        long long A_step, long long B_step, long long C_step, long long trap_step,
        long long angles_step, long long z_step, const float* __restrict__ angle,
        const float* __restrict__ ssm, const float* __restrict__ k,
        const float* __restrict__ v, const float* __restrict__ B_bias,
        const float* __restrict__ C_bias, const float* __restrict__ D,
        const float* __restrict__ norm_weight, const float* __restrict__ mimo_x,
        const float* __restrict__ mimo_z, const float* __restrict__ mimo_o,
        const long long* __restrict__ slots, IO* __restrict__ y,
        float* __restrict__ next_angle, float* __restrict__ next_ssm,
        float* __restrict__ next_k, float* __restrict__ next_v, int heads, int headdim,
        int groups, int size, int pairs, int pairwise, float eps) {
  SSM_DYN_SMEM(float, memory);
  const Desk desk(memory, size, headdim);
  const int tid = threadIdx.x, lane = tid % LANES, team = tid / LANES;
  const int head = blockIdx.x % heads, b = blockIdx.x / heads;
  const long long slot = slots ? slots[b] : b;
  y += (static_cast<long long>(b) * heads + head) * headdim;
  if (slot < 0) {  // the same for the whole block
#pragma unroll 1
    for (int p = tid; p < headdim; p += THREADS) y[p] = from_float<IO>(0.f);
    return;
  }
  const long long row = slot * heads + head;
  ssm += row * headdim * size, next_ssm += row * headdim * size;
  float h[ROWS][VEC];
  if (headdim && lane < size / VEC)
    load_rows(h, ssm + lane * VEC, team * ROWS, headdim, size);

  const Weights weights(to_float(dt[b * dt_step + head]), to_float(A[b * A_step + head]),
                        to_float(trap[b * trap_step + head]));
  const int group = head / (heads / groups) * size, plane = heads * size;
  const int ranked = head * RANKS;
  const Projection key{B + b * B_step + group, past(B_bias, ranked * size),
                       groups * size, size};
  const Projection query{C + b * C_step + group, past(C_bias, ranked * size),
                         groups * size, size};
  k += slot * RANKS * plane + head * size, next_k += slot * RANKS * plane + head * size;
#pragma unroll 1
  for (int item = tid; item < RANKS * (size / 2); item += THREADS) {
    const int r = item / (size / 2), i = item % (size / 2);
    Turn turn{pairwise ? 2 * i : i, pairwise ? 2 * i + 1 : i + size / 2, 0.f, 1.f};
    if (i < pairs) {
      const float turned = to_float(angles[b * angles_step + head * pairs + i]);
      const float theta =
          modulo_turn(fmaf(PI * tanhf(turned), weights.step, angle[row * pairs + i]));
      if (r == 0) next_angle[row * pairs + i] = theta;
      sincos_small(theta, turn.sine, turn.cosine);
    }
    turn_pair(desk, turn, r, key, query, weights.now, next_k + r * plane);
  }
  bring_keys(desk, k, plane, size, weights.before);
  bring_values(desk, x + b * x_step + head * headdim, v + row * headdim,
               past(mimo_x, ranked * headdim), next_v + row * headdim, headdim);
  __syncthreads();
  sweep(desk, h, ssm, next_ssm, headdim, size, weights.decay, past(D, head));
  __syncthreads();
  if (norm_weight) {
    measure(desk, headdim, eps);
    __syncthreads();
  }
  finish(desk, y, z ? z + b * z_step + head * headdim : nullptr,
         past(norm_weight, head * headdim), past(mimo_z, ranked * headdim),
         past(mimo_o, ranked * headdim), headdim);
}
