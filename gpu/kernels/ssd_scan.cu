// Mamba-2 over time, in chunks on tensor cores. Golden: ssmref/golden/mamba2.py::ssd, in
// the form of ssd_chunked.
//
// For the tokens t and s of a chunk, a the sum of dt A:
//
//   dt = clip(softplus(dt + dt_bias), low, high)
//   S[t,s] = C[t] B[s] exp(a[t] - a[s]) dt[s] if s <= t, else 0
//   y[t] = sum_s S[t,s] x[s] + exp(a[t]) h C[t]
//   h = exp(a[end]) h + sum_s exp(a[end] - a[s]) dt[s] x[s] B[s]^T
//   y[t] = (y[t] + D x[t]) silu(z[t])
//
// A block owns WIDTH columns of headdim of a head, and a segment of a sequence. A warp
// owns 16 of the columns, of x, z and y as of the state: (16, STATE) in registers as
// accumulators, which are the right factor of h C as they are. It computes a tile of
// columns of S as well, while C is read once for both; S goes to the others through
// shared memory. The state has no use for S: it is updated before the others are waited
// for, so that B and C of the next chunk fly during S x. The warp with least of S weighs
// the tokens of the next chunk meanwhile. Two barriers for a chunk.
//
// With OUTPUT = 0 it stops at h, in `starts`, and the sum of log2 of decays, in `spans`:
// what the segments behind start from is then carried over (mamba3_carry.cu).
//
// Layout: x, z, y (batch, length, heads, headdim); dt (batch, length, heads); B, C (batch,
// length, groups, size): batch and time have strides of their own. A, dt_bias (heads); D
// (heads) or (heads, headdim); state, next (rows, heads, headdim, size), starts (segments,
// heads, headdim, size), spans (segments, heads). What is optional may be null.
// Shared memory: see Desk (ssd_scan_chunk.cuh).
// Macros: IO (float, bf16, f16), PARTS (of a number in products: 2 for exact float, else
// 1), STATE (16 to 256: size, padded), ROWS (of a chunk: 16 to 64), OUTPUT.
#include "port.cuh"
#include "ssd_scan_tiles.cuh"

template <class T>
__device__ __forceinline__ T* past(T* p, long long count) {
  return p ? p + count : nullptr;
}

// Two blocks on a multiprocessor have all its registers.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    ssd_scan(const IO* __restrict__ x, const IO* __restrict__ dt,
             const IO* __restrict__ B, const IO* __restrict__ C,
             const IO* __restrict__ z, long long x_batch, long long x_token,
             long long dt_batch, long long dt_token, long long B_batch,
             long long B_token, long long C_batch, long long C_token, long long z_batch,
             long long z_token, const float* __restrict__ A,
             const float* __restrict__ D, const float* __restrict__ dt_bias,
             const float* __restrict__ state, const long long* __restrict__ segments,
             float* starts, float* __restrict__ spans, IO* __restrict__ y,
             float* __restrict__ next, long long length, long long segment,
             int per_row, int heads, int headdim, int groups, int size, int D_per_row,
             int with_softplus, int whole_keys, int whole_values, float low,
             float high) {
  SSM_DYN_SMEM(unsigned char, memory);
  const int warp = __shfl_sync(SSM_FULL, threadIdx.x / 32, 0), tiles = max(1, (headdim + WIDTH - 1) / WIDTH);
  const int tile = blockIdx.x % tiles, head = blockIdx.x / tiles % heads;
  const Segment s =
      find_segment(blockIdx.x / tiles / heads, segments, per_row, segment, length);
  if (!OUTPUT && s.last) return;  // nothing starts from its end
  const Desk desk(memory);
  const int column = tile * WIDTH + warp * OWN, columns = min(OWN, headdim - column);
  const bool own = columns > 0;
  // The first tile of columns of S has most rows; neighbours begin at either end.
  const int scored = ROW_TILES == WARPS && blockIdx.x % 2 ? WARPS - 1 - warp : warp;
  const bool weighs = scored == WARPS - 1;

  const long long within = static_cast<long long>(head) * headdim + column;
  const long long group = static_cast<long long>(head / (heads / groups)) * size;
  const int lane = threadIdx.x % 32, key = threadIdx.x / KEY_VECTORS;
  const long long state_at = group + threadIdx.x % KEY_VECTORS * PER;
  const long long column_at = within + lane % VALUE_VECTORS * PER;
  Track dts(dt, s, dt_batch, dt_token, lane, head);
  Track Bs(B, s, B_batch, B_token, key, state_at), Cs(C, s, C_batch, C_token, key, state_at);
  Track xs(x, s, x_batch, x_token, lane / VALUE_VECTORS, column_at);
  Track zs(z, s, z_batch, z_token, lane / VALUE_VECTORS, column_at);
  Output output(y, s, length, static_cast<long long>(heads) * headdim, within);
  output.gated = z != nullptr, output.whole = whole_values, output.columns = columns;
  for (int i = threadIdx.x; i < WIDTH; i += THREADS) {
    const int at = tile * WIDTH + i;
    const bool there = D && at < headdim;
    desk.skip[i] = there ? D[D_per_row ? head * headdim + at : head] : 0.f;
  }
  const long long row = (s.row * heads + head) * headdim + column;
  float* const start =
      past(starts, ((s.index * heads + head) * headdim + column) * size);
  State h;
  if (s.first) take_state(h, past(state, row * size), columns, size);
  else take_state(h, OUTPUT ? start : nullptr, columns, size);
  if (lane == 0) {
    const bool ends = !OUTPUT || s.last;
    desk.last[warp] = !own || !ends ? nullptr : OUTPUT ? next + row * size : start;
    if (warp == 0)
      desk.last[WARPS] = OUTPUT || tile ? nullptr : spans + s.index * heads + head;
  }
  Raw raw;
  // Tokens that are not brought yet, and those of the chunk that is.
  long long left = s.end - s.begin;
  int tokens = 0;
  if (weighs) raw.take(dts, left);

  // The first time around, the first chunk is only weighed and brought.
  int turn = 1;
#pragma unroll 1
  do {
    const Weights weights = desk.weighed(turn);
    const int coming = static_cast<int>(max(min(left, static_cast<long long>(ROWS)), 0LL));
    left -= ROWS;
    cp_async_wait<0>();
    __syncthreads();  // the chunk and its weights are there; nobody reads scores
    if (weighs && coming) {
      const Pace pace{A[head], dt_bias ? dt_bias[head] : 0.f, low, high, with_softplus};
      weigh(desk.weighed(1 - turn), raw, pace, coming, tokens ? weights.whole[1] : 0.f);
      raw.take(dts, left);
    }
    Tile out = {};
    if (OUTPUT && tokens) {
      Tile scores = {};
      query(out, scores, h, desk, scored, own);
      if (scored < ROW_TILES) share(scores, desk, weights, scored);
      decay(out, weights);
    }
    if (own && tokens) advance(h, desk, weights);
    __syncthreads();  // scores of every row; B and C are free
    if (coming) {
      bring_rows(desk.keys, Bs, coming, size, whole_keys);
      if (OUTPUT) bring_rows(desk.queries, Cs, coming, size, whole_keys);
    }
    if (own) {
      if (OUTPUT && tokens) {
        attend(out, desk);
        output.give(out, desk, tokens);
      }
      __syncwarp();  // the warp's columns are free
      if (coming) bring_columns(desk.x, xs, coming, columns, whole_values);
      if (OUTPUT && coming && z) bring_columns(desk.z, zs, coming, columns, whole_values);
    }
    cp_async_commit();
    tokens = coming, turn = 1 - turn;
  } while (tokens);
  if (float* const to = desk.last[warp]) give_state(h, to, columns, size);
  float* const span = desk.last[WARPS];
  if (span && threadIdx.x == 0) *span = desk.weighed(1 - turn).whole[1];
}
