// Mamba-3 over time, one or several ranks, in chunks on tensor cores. Golden:
// ssmref/golden/mamba3.py::siso and mimo, in the form of mimo_chunked.
//
// Rows i = (t, r) and j = (s, u) of a chunk are its tokens and ranks; q, k have their
// bias and are rotated by the angles, v[j] = mimo_x[u] x[s], a sums log decays up:
//
//   scale[s] = now[s] + before[s+1],   now = sigmoid(trap) dt,  before = sigmoid(-trap) dt
//   S[i,j] = q[i] k[j] (exp(a[t]-a[s]) scale[s] if s < t, now[s] if s = t, else 0)
//   y[i] = sum_j S[i,j] v[j] + exp(a[t]) h q[i]
//   h = exp(a[end]) h + sum_j exp(a[end] - a[s]) scale[s] v[j] k[j]^T
//   out[t] = sum_r mimo_o[r] norm(y[t,r] + D v[t,r]) silu(mimo_z[r] z[t])
//
// so that the terms of one token, all pairs of its ranks, come out of the same product as
// those of earlier ones. At the start of a sequence h has before[0] v k^T of the token
// before it already.
//
// A block owns WIDTH columns of headdim of a head, and a segment of a sequence. A warp
// owns OWN of the columns: of the state, (OWN, STATE) in registers as accumulators, which
// are the right factor of h q as they are, and of outputs. It computes a tile of columns
// of S as well; S goes to the others through shared memory. Queries, once read, serve
// both products. Keys and queries are rotated where they lie; nothing of that goes to
// memory. The state has no use for S: it is updated before the others are waited for, so
// that B and C of the next chunk fly during S v. Outputs are finished where they are
// summed; ranks of a token are lanes of a warp. One warp weighs the tokens of the next
// chunk meanwhile. Five barriers for a chunk.
//
// With OUTPUT = 0 it stops at h, in `starts`, and the sum of log decays, in `spans`: what
// the segments behind start from is then carried over (state_carry.cu). With `raw` the
// outputs of each rank, y + D v, go there: for a norm over more than WIDTH columns
// (mamba3_norm.cu).
//
// Layout: x, z, y (batch, length, heads, headdim); dt, A, trap (batch, length, heads);
// angles (batch, length, heads, pairs); B, C (batch, length, ranks, groups, size): batch
// and time have strides of their own. States: angle (rows, heads, pairs), ssm (rows,
// heads, headdim, size), k (rows, ranks, heads, size), v (rows, heads, headdim), starts
// (segments, heads, headdim, size), spans (segments, heads), turns (segments, heads,
// pairs): where angles start. B_bias, C_bias (heads, ranks, size); mimo_x, mimo_z, mimo_o
// (heads, ranks, headdim); norm_weight (heads, headdim); D (heads); raw (batch, length,
// heads, ranks, headdim). What is optional may be null.
// Shared memory: see Desk (mamba3_chunk.cuh).
// Macros: IO (float, bf16, f16), PARTS (of a number in products: 2 for exact float, else
// 1), STATE (16 to 256: size, padded), ROWS (of a chunk: 16 or 32), RANKS (1, without
// mimo_x to mimo_o, 2, 4 or 8; 0: any number, as `ranks` says), PAIRWISE (1, or 0: halves
// of a row are paired), OUTPUT.
#include "port.cuh"
#include "mamba3_output.cuh"

// A parameter of (ranks, from) numbers as rows of `to`, `stride` apart, or a constant; 0
// behind `width`.
__device__ __forceinline__ void spread(float* rows, int stride, int to, const float* p,
                                       int from, int width, float constant, int ranks) {
#pragma unroll 1
  for (int i = threadIdx.x; i < ranks * to; i += THREADS) {
    const int r = i / to, at = i % to;
    rows[r * stride + at] = at >= width ? 0.f : p ? p[r * from + at] : constant;
  }
}

// A state as it was, or 0: `rows` rows of numbers, `step` apart.
__device__ __forceinline__ void pass(const float* from, float* to, int numbers, int step,
                                     int rows) {
#pragma unroll 1
  for (int i = threadIdx.x; i < rows * numbers; i += THREADS) {
    const int at = i / numbers * step + i % numbers;
    to[at] = from ? from[at] : 0.f;
  }
}

// Lanes for so many units of a row, a power of two, by its exponent.
__device__ __forceinline__ int lanes_for(int count) {
  int log = 0;
  while (log < MOST_LANES && 1 << log < count) ++log;
  return log;
}

template <class T>
__device__ __forceinline__ T* past(T* p, long long count) {
  return p ? p + count : nullptr;
}

// The first token of a segment in an array, null where there is none.
__device__ __forceinline__ const IO* begin(const IO* p, long long batch, int token,
                                           const Segment& s, long long within) {
  return p ? p + s.batch * batch + s.begin * token + within : nullptr;
}

// Rows of tokens, from one of the segment on.
__device__ __forceinline__ Source from(const IO* p, int token, int at) {
  return {p + static_cast<long long>(at) * token, token};
}

// What the lane's token of a chunk does, and the one behind it: of `there` that exist,
// `tokens` belong to the chunk.
__device__ __forceinline__ Scalars scalars(const Source& dt, const Source& A,
                                           const Source& trap, int tokens, int there) {
  Scalars s;
  const int t = thread_again() % 32;
  if (t >= tokens) return s;
  s.dt = to_float(dt.p[t * dt.step]);
  s.A = to_float(A.p[t * A.step]);
  s.trap = to_float(trap.p[t * trap.step]);
  if (t + 1 >= there) return s;
  s.next_dt = to_float(dt.p[(t + 1) * dt.step]);
  s.next_trap = to_float(trap.p[(t + 1) * trap.step]);
  return s;
}

// Eight warps on a multiprocessor have all its registers.
extern "C" __global__ void __launch_bounds__(THREADS, 8 / WARPS) mamba3_scan(
    const IO* __restrict__ x, const IO* __restrict__ dt, const IO* __restrict__ A,
    const IO* __restrict__ B, const IO* __restrict__ C, const IO* __restrict__ trap,
    const IO* __restrict__ angles, const IO* __restrict__ z, long long x_batch,
    int x_token, long long dt_batch, int dt_token, long long A_batch, int A_token,
    long long B_batch, int B_token, long long C_batch, int C_token,
    long long trap_batch, int trap_token, long long angles_batch, int angles_token,
    long long z_batch,
    int z_token, const float* __restrict__ angle, const float* __restrict__ ssm,
    const float* __restrict__ k, const float* __restrict__ v,
    const float* __restrict__ B_bias, const float* __restrict__ C_bias,
    const float* __restrict__ D, const float* __restrict__ norm_weight,
    const float* __restrict__ mimo_x, const float* __restrict__ mimo_z,
    const float* __restrict__ mimo_o, const long long* __restrict__ segments,
    const float* __restrict__ turns, float* starts, float* __restrict__ spans,
    IO* __restrict__ y, float* __restrict__ raw, float* __restrict__ next_angle,
    float* __restrict__ next_ssm, float* __restrict__ next_k,
    float* __restrict__ next_v, long long length, long long segment, int per_row,
    int heads, int headdim, int groups, int size, int ranks, int pairs, int shift,
    int whole_keys, int whole_values, int whole_angles, float eps) {
  SSM_DYN_SMEM(unsigned char, memory);
  const int tid = threadIdx.x;
  const int tiles = max(1, (headdim + WIDTH - 1) / WIDTH);
  const int tile = blockIdx.x % tiles, head = blockIdx.x / tiles % heads;
  const Segment s =
      find_segment(blockIdx.x / tiles / heads, segments, per_row, segment, length);
  if (!OUTPUT && s.last) return;  // nothing starts from its end
  const int column = tile * WIDTH;
  const Sizes n{RANKS ? RANKS : ranks,
                ROWS / (RANKS ? RANKS : ranks),
                size,
                pairs,
                min(WIDTH, headdim - column),
                shift,
                whole_keys != 0,
                whole_values != 0,
                whole_angles != 0};
  const Desk desk(memory, n);
  const bool first = s.first, last = s.last;
  const int whole_length = static_cast<int>(s.end - s.begin);

  const long long within = static_cast<long long>(head) * headdim + column;
  const long long row = s.row * heads + head, group = head / (heads / groups);
  const int plane = groups * size;  // from rank to rank of B and C
  const long long place = (s.index * heads + head) * headdim + column;
  const long long state = row * headdim + column;
  const long long key = (s.row * n.ranks * heads + head) * size, ranked = head * n.ranks;
  if (whole_length == 0) {  // of the sequence, too
    pass(past(ssm, state * size), next_ssm + state * size, n.width * size, 0, 1);
    pass(past(v, state), next_v + state, n.width, 0, 1);
    if (tile != 0) return;
    pass(past(angle, row * pairs), next_angle + row * pairs, pairs, 0, 1);
    pass(past(k, key), next_k + key, size, heads * size, n.ranks);
    return;
  }
  // Angles of a token are so many vectors, of which threads have one each.
  const int vectors = max(1, pairs / per_vector<IO>()), step = max(1, THREADS / vectors);
  // Units are vectors: those that turn, one with a pair that does, those that do not.
  const int half = size / 2, units = PAIRWISE || half % UNIT == 0 ? half / UNIT : 0;
  const int turned = min(pairs / UNIT, units);
  const int others = min((pairs + UNIT - 1) / UNIT, units);
  if (tid == 0) {
    const long long token = (s.batch * length + s.begin) * heads;
    *desk.places = {begin(x, x_batch, x_token, s, within),
                    begin(dt, dt_batch, dt_token, s, head),
                    begin(A, A_batch, A_token, s, head),
                    begin(B, B_batch, B_token, s, group * size),
                    begin(C, C_batch, C_token, s, group * size),
                    begin(trap, trap_batch, trap_token, s, head),
                    begin(angles, angles_batch, angles_token, s, head * pairs),
                    begin(z, z_batch, z_token, s, within),
                    past(norm_weight, within),
                    y + token * headdim + within,
                    past(raw, (token + head) * n.ranks * headdim + column),
                    next_angle + row * pairs,
                    OUTPUT ? next_ssm + state * size : starts + place * size,
                    next_k + key,
                    next_v + state,
                    past(spans, s.index * heads + head),
                    n.width,
                    last,
                    tile == 0,
                    step,
                    whole_length,
                    turned,
                    lanes_for(turned),
                    others,
                    units - others,
                    lanes_for(units - others)};
  }
  for (int i = tid; !RANKS && i < ROWS; i += THREADS) desk.token[i] = i / n.ranks;
  for (int i = 0; i < 2; ++i)
    spread(desk.bias + i * STATE, 2 * STATE, STATE,
           past(i == 0 ? B_bias : C_bias, ranked * size), size, size, 0.f, n.ranks);
  for (int i = 0; i < 3; ++i)
    spread(desk.mix_x + i * n.ranks * WIDTH, WIDTH, WIDTH,
           past(i == 0 ? mimo_x : i == 1 ? mimo_z : mimo_o, ranked * headdim + column),
           headdim, n.width, 1.f, n.ranks);
  __syncthreads();
  const Places& places = *desk.places;

  Before before{nullptr, nullptr, nullptr, heads * size, 0.f};
  if (first && ssm) {
    before.ssm = ssm + state * size;
    before.v = v + state;
    before.k = k + key;
    before.weight = sigmoid(-to_float(*places.trap)) * to_float(*places.dt);
  } else if (!first && OUTPUT) {
    before.ssm = starts + place * size;
  }
  State h;
  take_state(h, before, desk, n);
  Turner& turner = desk.turners[tid];
  turner = {pairs ? tid % pairs : 0, pairs ? tid / pairs : THREADS, 0.f,
            static_cast<unsigned short>(tid < step * vectors ? tid / vectors : ROWS),
            static_cast<unsigned short>(tid % vectors * per_vector<IO>())};
  if (!turner.idle(n)) {
    if (!s.first) turner.carry = turns[(s.index * heads + head) * pairs + turner.angle];
    else if (angle) turner.carry = to_turns(angle[row * pairs + turner.angle]);
  }
  if (tid == 0) *desk.span = 0.f, *desk.D = D ? D[head] : 0.f;
  __syncthreads();  // both are there

  const Output output{D != nullptr, z != nullptr, eps, heads, headdim};
  // The chunk that has been brought, none at first, and the one that comes. What is the
  // same for all is read from shared memory each time: registers have better use.
  int at = 0, tokens = 0, coming;
  const auto width = [&] { Sizes m = n; m.width = places.width; return m; };
  const auto warp = [] { return thread_again() / 32; };
#pragma unroll 1
  do {
    const int next = at + tokens;
    coming = min(n.tokens, places.length - next);
    Tile out;
    if (tokens) {
      cp_async_wait<0>();
      __syncthreads();  // the chunk has arrived, and nobody is at the one before it
      bring_values(desk.x, from(places.x, x_token, at), tokens, width());
      if (OUTPUT && z) bring_values(desk.z, from(places.z, z_token, at), tokens, width());
      cp_async_commit();
      turner.add(desk, tokens, n);
      __syncthreads();  // sums of turns
      turner.advance(desk, tokens, n);
      __syncthreads();  // sines
      const bool keep = OUTPUT && !coming && places.last && places.leads;
      rotate(desk, tokens, {keep ? places.k : nullptr, heads * size}, n);
      cp_async_wait<0>();
      __syncthreads();  // keys and queries, x; angles are free
      if (OUTPUT) {
        Scores scores;
        query(out, scores, h, desk, warp() % ROW_TILES);
        if (warp() < ROW_TILES) share(scores, desk, warp(), n);
        decay(out, desk);
      }
      if (OWN * warp() < places.width) {
        if (!RANKS) lay_values(desk, tokens, n);
        advance(h, desk, n);
      }
      __syncthreads();  // scores of every row; keys and queries are free
    }
    if (coming) {
      turner.bring(desk, from(places.angles, angles_token, next), coming, n);
      if (OUTPUT)
        bring_ranks(desk.queries, desk, from(places.C, C_token, next), plane, coming, n);
      bring_ranks(desk.keys, desk, from(places.B, B_token, next), plane, coming, n);
      cp_async_commit();
    }
    // One warp after the other; of one more than the chunk has, if the sequence goes on.
    const bool weighs = coming && warp() == next / n.tokens % WARPS;
    Scalars scalar;
    if (weighs)
      scalar = scalars(from(places.dt, dt_token, next), from(places.A, A_token, next),
                       from(places.trap, trap_token, next), coming,
                       places.length - next + !places.last);
    if (OUTPUT && tokens && OWN * warp() < places.width) {
      if (overflown(h)) add_seen(out, desk, n);
      else add_scored(out, desk, n);
    }
    if (weighs) weigh(desk, scalar, coming, n);
    if (OUTPUT && tokens) {
      output.skip(out, desk, n);
      if (raw) {
        output.give_raw(out, desk, at, tokens, width());
      } else {
        if (norm_weight) output.norm(out, desk, places.norm_weight, width());
        __syncwarp();  // x has been read
        output.finish(out, desk, n);
        output.write(desk, at, tokens, width());
      }
    }
    at = next, tokens = coming;
  } while (tokens);
  const bool ends = OUTPUT && places.last;
  if (!OUTPUT || ends) give_state(h, places.ssm, width());
  if (!OUTPUT && tid == 0 && places.leads) *places.span = *desk.span;
  if (!ends) return;
  if (tid < places.width)
    places.v[tid] = to_float(from(places.x, x_token, places.length - 1).p[tid]);
  if (places.leads && turner.group == 0)
    places.angle[turner.angle] = from_turns(turner.carry);
}
