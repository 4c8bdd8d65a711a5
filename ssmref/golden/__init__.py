"""The definition of correct: every op in NumPy, one token at a time.

Each module is a model, each function an op. The unsuffixed function is the
recurrence; a suffix (``_chunked``, ``_quadratic``, ``_convolution``, ``_blelloch`` ...)
names another form with the same signature, proven equal; ``_step`` is one token of
decoding: the arguments of the op without their time axis, then the state.

Functions are pure and compute in the dtype of their arguments: the same code is the
truth in ``longdouble`` and the yardstick in ``float32``. Time follows batch; states
go in and come out explicitly. ``cu_seqlens`` (0, ..., length) packs independent
sequences into a batch of one; states then have one row per sequence. ``slots`` names
the row of a pool of states that each row of a step uses; a negative one is padding.

Shapes stand in the annotations. Every function raises TypeError for what is no NumPy
array, has a dtype that does not fit, or is of another precision than the arguments
before it, and ValueError for a shape that does not fit, a ``cu_seqlens`` that does not
rise from 0 to the length, a slot that is named twice or not there, and a ``chunk_size``
or ``block_size`` below 1. Docstrings name what else is raised; forms and steps raise
what their op raises.

Notation. Axes have words, arrays keep their papers' letters:

=========  ======  ======  =======  =======  =======  ======  ========================
axis       einsum  S4, S5  Mamba-1  Mamba-2  Mamba-3  H3      meaning
=========  ======  ======  =======  =======  =======  ======  ========================
batch      b       B       B        B        B        B       independent rows
length     t, s    L       L        T        T        L       tokens
channels   d       H       D        (H P)    (H P)    D       independent features
heads      h               (D)      H        H        H       rows that share dt and A
headdim    p               (1)      P        P        d       features of a head
state      n       N       N        N        N        N       size of the state
groups     g               G        G        G                heads that share B and C
ranks      r       r                         R                rank of P; MIMO rank
angles     a                                 S                rotary pairs
width      k               W        W                         taps of the convolution
taps       k                                          N       taps of H3's shift SSM
inputs     i       H                                          features into S5
outputs    o       H                                          features out of S5
inner      e                                                  features inside an MLP
projections                                                   rows of stacked weights
sequences                                                     packs: one per sequence
slots                                                         rows of a pool of states
rows                                                          either of these
bounds                                                        entries of cu_seqlens
window                                                        tokens in a buffer
cached                                                        tokens in a cache
kv_heads                                                      heads of keys and values
valuedim                                                      features of a value head
=========  ======  ======  =======  =======  =======  ======  ========================

=============  ================================================================
array          papers and official code
=============  ================================================================
u, x           input: u in S4, S5, H3, Mamba-1; x in Mamba-2 and Mamba-3 (V)
dt             step size: Delta, delta, step; raw where dt_softplus is given
A              state matrix: Lambda in S4 and S5 (its diagonal), A = -exp(A_log)
               in Mamba-1 and 2, data-dependent in Mamba-3 (ADT = A dt)
B, C           input and output projection; K and Q in Mamba-3
P              low-rank term of S4: the full matrix is diag(A) - P P*
D              skip connection
z              gate
hidden         output of a mixer, beside the residual that it is added to
trap           logit of the trapezoidal weight lambda of Mamba-3
angles         raw rotation rates of Mamba-3, before tanh
h, state       hidden state (x in S4, S5 and Mamba-1's code)
=============  ================================================================

Head h uses group ``h // (heads / groups)``: consecutive heads share a group.
"""
