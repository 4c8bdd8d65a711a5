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
// A block owns WIDTH columns of headdim of HEADS heads of a group, which share B, C and
// C B^T, and a segment of a sequence. A warp owns 16 HEADS of the columns of one head, of
// x, z and y as of the state: (OWN, STATE) in registers as accumulators, which are the
// right factor of h C as they are. Tiles of C B^T are dealt to the warps and weighed for
// each head; S goes to the others through shared memory. The state has no use for S: it is
// updated before the others are waited for, so that B and C of the next chunk fly during
// S x. x and z have two places in turns, and fly for a whole chunk. The warp that has no
// tile of S weighs the tokens of the next chunk. Two barriers for a chunk.
//
// What is not finite in x leaves no number of a warp's state finite; then S x is summed
// token by token on the diagonal, so that it does not reach earlier tokens. In float16 also
// what is multiplied may have become infinite: a warp that sees that computes its part of
// the segment once more, without products of tiles (ssd_scan_again.cuh).
//
// With OUTPUT = 0 it stops at h, in `starts`, and the sum of log2 of decays, in `spans`:
// what the segments behind start from is then carried over (state_carry.cu).
//
// Layout: x, z, y (batch, length, heads, headdim); dt (batch, length, heads); B, C (batch,
// length, groups, size): batch and time have strides of their own. A, dt_bias (heads); D
// (heads) or (heads, headdim); state, next (rows, heads, headdim, size), starts (segments,
// heads, headdim, size), spans (segments, heads). What is optional may be null.
// Shared memory: see Desk (ssd_scan_chunk.cuh).
// Macros: IO (float, bf16, f16), PARTS (of a number in products: 2 for exact float, else
// 1), STATE (16 to 256: size, padded), ROWS (of a chunk: 16, 32 or 64), HEADS (1, 2), OUTPUT.
#include "port.cuh"
#include "ssd_scan_again.cuh"

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
  const int warp = __shfl_sync(SSM_FULL, threadIdx.x / 32, 0), which = warp / SHARERS;
  const int tiles = max(1, (headdim + WIDTH - 1) / WIDTH), tile = blockIdx.x % tiles;
  const int first_head = blockIdx.x / tiles % (heads / HEADS) * HEADS;
  const int head = first_head + which;
  const Segment s = find_segment(blockIdx.x / tiles / (heads / HEADS), segments, per_row,
                                 segment, length);
  if (!OUTPUT && s.last) return;  // nothing starts from its end
  const Desk desk(memory);
  const int column = tile * WIDTH + warp % SHARERS * OWN;
  const int columns = min(OWN, headdim - column);
  const bool own = columns > 0;

  const long long within = static_cast<long long>(head) * headdim + column;
  const long long group = static_cast<long long>(head / (heads / groups)) * size;
  const int lane = threadIdx.x % 32, key = threadIdx.x / KEY_VECTORS;
  const long long state_at = group + threadIdx.x % KEY_VECTORS * PER;
  const long long column_at = within + lane % VALUE_VECTORS * PER;
  const int value = lane / VALUE_VECTORS;
  const Source dts(desk, OF_DT, dt, s, dt_batch, dt_token, lane, first_head);
  const Source Bs(desk, OF_B, B, s, B_batch, B_token, key, state_at);
  const Source Cs(desk, OF_C, C, s, C_batch, C_token, key, state_at);
  const Source xs(desk, OF_X, x, s, x_batch, x_token, value, column_at);
  const Source zs(desk, OF_Z, z, s, z_batch, z_token, value, column_at);
  const long long y_token = static_cast<long long>(heads) * headdim;
  const Output output{
      Track<IO>(desk, OF_Y, y, s, length * y_token, y_token, value, column_at),
      D != nullptr, z != nullptr, whole_values != 0};
  if (threadIdx.x < HEADS) {
    const int of = first_head + threadIdx.x;
    desk.paces[threadIdx.x] = {A[of], dt_bias ? dt_bias[of] : 0.f, low, high,
                               with_softplus, 0.f};
  }
  for (int i = threadIdx.x; i < HEADS * WIDTH; i += THREADS) {
    const int of = first_head + i / WIDTH, at = tile * WIDTH + i % WIDTH;
    const bool there = D && at < headdim;
    desk.skip[i] = there ? D[D_per_row ? of * headdim + at : of] : 0.f;
  }
  const long long row = (s.row * heads + head) * headdim + column;
  float* const start =
      past(starts, ((s.index * heads + head) * headdim + column) * size);
  State h;
  if (s.first) take_state(h, past(state, row * size), columns, size);
  else take_state(h, OUTPUT ? start : nullptr, columns, size);
  if (lane == 0) {
    const bool ends = own && (!OUTPUT || s.last);
    const bool spanned = !OUTPUT && !tile && warp % SHARERS == 0;
    desk.endings[warp] = {!ends ? nullptr : OUTPUT ? next + row * size : start,
                          spanned ? spans + s.index * heads + head : nullptr, columns,
                          static_cast<short>((s.end - s.begin - 1) % ROWS + 1), false};
  }
  __syncthreads();  // paces are there

  // Chunks that are left; those of odd numbers and of even ones have places in turns.
  int left = static_cast<int>((s.end - s.begin + ROWS - 1) / ROWS);
  Raw raw;
  const auto weigh_chunk = [&](int turn, int tokens) {
    if (warp != WARPS - 1) return;
#pragma unroll
    for (int i = 0; i < HEADS; ++i)
      weigh(desk.weighed(turn, i), raw.dt[i], desk.paces[i], tokens);
  };
  const auto bring_columns = [&](int turn, int tokens) {
    const int columns = desk.endings[warp].columns;
    if (columns <= 0) return;
    bring_values(Desk::columns(desk.x, turn), xs, tokens, columns, whole_values);
    if (OUTPUT && z)
      bring_values(Desk::columns(desk.z, turn), zs, tokens, columns, whole_values);
  };
  const auto bring_states = [&](int tokens) {
    bring_keys(desk.keys, Bs, tokens, size, whole_keys);
    if (OUTPUT) bring_keys(desk.queries, Cs, tokens, size, whole_keys);
    cp_async_commit();
  };
  const auto tokens_of = [&](int left) {
    return left > 1 ? ROWS : left == 1 ? desk.endings[warp].tokens : 0;
  };
  if (left > 0) {
    raw.take(dts, tokens_of(left));
    weigh_chunk(left % 2, tokens_of(left));
    raw.take(dts, tokens_of(left - 1));
    bring_columns(left % 2, tokens_of(left));
    bring_states(tokens_of(left));
  }
#pragma unroll 1
  for (; left > 0; --left) {
    const int turn = left % 2, tokens = tokens_of(left), coming = tokens_of(left - 1);
    const Weights weights = desk.weighed(turn, which);
    IO* const values = Desk::columns(desk.x, turn);
    cp_async_wait<0>();
    __syncthreads();  // the chunk and its weights are there; nobody reads scores
    if (coming) {
      bring_columns(1 - turn, coming);
      weigh_chunk(1 - turn, coming);
    }
    Tile out = {};
    if (OUTPUT) score(desk, turn);
    if (narrow<IO> ? desk.endings[warp].columns > 0 : own) {
      if (OUTPUT) {
        query(out, h, desk);
        decay(out, weights);
      }
      advance(h, values, desk.keys, weights);
    }
    __syncthreads();  // scores of every row; B and C are free
    if (coming) {
      bring_states(coming);
      if (warp == WARPS - 1) raw.take(dts, tokens_of(left - 2));
    }
    if (OUTPUT && desk.endings[warp].columns > 0) {
      attend(out, desk.scores + which * ROWS * SCORE_STRIDE, values,
             !narrow<IO> && infinite(h));
      if (narrow<IO> && spoilt(out) && threadIdx.x % 32 == 0)
        desk.endings[warp].lost = true;
      const float* const skip = desk.skip + which * WIDTH + warp % SHARERS * OWN;
      output.give(out, values, Desk::columns(desk.z, turn), skip, tokens,
                  desk.endings[warp].columns);
    }
  }
  const int ended = __shfl_sync(SSM_FULL, threadIdx.x / 32, 0);
  const Ending ending = desk.endings[ended];
  if (ending.state) give_state(h, ending.state, ending.columns, size);
  if (narrow<IO> && ending.columns > 0 &&
      (__any_sync(SSM_FULL, ending.lost) || infinite(h))) {
    // By way of a shuffle: else the loop would keep what is computed from it in registers.
    const auto anew = [](auto value) { return __shfl_sync(SSM_FULL, value, 0); };
    const int block = anew(static_cast<int>(blockIdx.x)), all = anew(heads);
    const int wide = anew(headdim), tiles = max(1, (wide + WIDTH - 1) / WIDTH);
    const long long* const table =
        reinterpret_cast<const long long*>(anew(reinterpret_cast<long long>(segments)));
    const int head = block / tiles % (all / HEADS) * HEADS + ended / SHARERS;
    const Segment s = find_segment(block / tiles / (all / HEADS), table, anew(per_row),
                                   segment, length);
    const int column = block % tiles * WIDTH + ended % SHARERS * OWN;
    const long long within = static_cast<long long>(head) * wide + column;
    const long long group = static_cast<long long>(head / (all / groups)) * size;
    const long long y_token = static_cast<long long>(all) * wide;
    const auto rows = [&](const IO* p, long long batch, long long token, long long at) {
      return Rows{past(p, s.batch * batch + s.begin * token + at), token};
    };
    const Arrays arrays{rows(x, x_batch, x_token, within),
                        rows(dt, dt_batch, dt_token, head),
                        rows(B, B_batch, B_token, group),
                        rows(C, C_batch, C_token, group),
                        rows(z, z_batch, z_token, within),
                        past(D, D_per_row ? within : head),
                        y + (s.batch * length + s.begin) * y_token + within, y_token,
                        D_per_row, ending.columns, size};
    const float* const start =
        s.first ? past(state, ((s.row * all + head) * wide + column) * size)
                : OUTPUT ? starts + ((s.index * all + head) * wide + column) * size : nullptr;
    State again;
    take_state(again, start, ending.columns, size);
    __syncwarp();  // what was written for y
    scan_again(again, arrays, desk.paces[ended / SHARERS],
               desk.keys + 2 * ended * KEY_STRIDE, s.end - s.begin);
    if (ending.state) give_state(again, ending.state, ending.columns, size);
  }
  if (ending.span && threadIdx.x % 32 == 0)
    *ending.span = desk.paces[ended / SHARERS].spent;
}
