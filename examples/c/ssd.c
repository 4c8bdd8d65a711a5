// Mamba-2's SSD and its step in plain C11, as a program that `ssmref verify` can judge.
//
//     cc -std=c11 -O2 -o ssd ssd.c -lm
//     ssmref verify --exec './ssd {in} {out}' --op mamba2.ssd --op mamba2.ssd_step
//
//   dt[t] = clip(softplus(dt[t] + dt_bias), dt_limit)
//   h[t] = exp(dt[t] A) h[t-1] + dt[t] x[t] B[t]^T
//   y[t] = (h[t] C[t] + D x[t]) silu(z[t])
//
// It computes in float32, or in float64 with -DREAL=double. A case is read from
// IN/case.txt and IN/in/*.npy, results go to OUT/*.npy. Exit status: 0 done, 1 a broken
// case, 77 a case that this program does not provide.

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tgmath.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;
#define REAL_NAME (sizeof(real) == sizeof(double) ? "float64" : "float32")
#define REAL_DESCR (sizeof(real) == sizeof(double) ? "<f8" : "<f4")

enum { RANKS = 4, BROKEN = 1, NOT_PROVIDED = 77 };
enum { LARGEST = 1 << 28 };  // elements; a case that claims more is not believed

// `data` is NULL for an array that the case does not have.
typedef struct {
    int rank;
    long shape[RANKS], size;
    void *data;
} Array;

enum { X, DT, A, B, C, D, Z, DT_BIAS, INITIAL_STATE, CU_SEQLENS, STATE, SLOTS, ARRAYS };
static const char *const NAMES[ARRAYS] = {
    "x", "dt", "A", "B", "C", "D", "z", "dt_bias", "initial_state", "cu_seqlens",
    "state", "slots",
};

typedef struct {
    bool is_step, softplus;
    real low, high;
    Array in[ARRAYS];
    long tokens, heads, headdim, groups, state, rows, cells;
} Case;

static _Noreturn void stop(int status, const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(status);
}

static void need(bool holds, const char *what, const char *why) {
    if (!holds) stop(BROKEN, what, why);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    need(memory != NULL, "memory", "there is not enough");
    return memory;
}

// A product of sizes from a file; it may not overflow.
static long product(long a, long b) {
    need(a <= LARGEST && b <= LARGEST && a * b <= LARGEST, "case", "is too large");
    return a * b;
}

// Open FOLDER/NAME and leave its path, for messages, in `path`.
static FILE *open_file(char path[FILENAME_MAX], const char *folder, const char *name,
                       const char *mode) {
    int used = snprintf(path, FILENAME_MAX, "%s/%s", folder, name);
    need(used < FILENAME_MAX, folder, "is too long a path");
    FILE *file = fopen(path, mode);
    if (!file) {
        perror(path);
        exit(BROKEN);
    }
    return file;
}

// Write "'shape': (2, 37)" or "'shape': (3,)" as an .npy header has it.
static void shape_text(char text[128], const Array *array) {
    int n = sprintf(text, "'shape': (");
    for (int i = 0; i < array->rank; i++)
        n += sprintf(text + n, i ? ", %ld" : "%ld", array->shape[i]);
    sprintf(text + n, array->rank == 1 ? ",)" : ")");
}

// The file must hold exactly what case.txt says of it: dtype, shape, C order, data.
static void read_npy(const char *folder, const char *name, const char *descr,
                     size_t item, Array *array) {
    char path[FILENAME_MAX], own[64], header[65536] = "", shape[128], dtype[32];
    unsigned char start[10];
    snprintf(own, sizeof own, "in/%s.npy", name);
    FILE *file = open_file(path, folder, own, "rb");
    need(fread(start, 1, 10, file) == 10, path, "is truncated");
    need(!memcmp(start, "\x93NUMPY\x01\x00", 8), path, "is no .npy file of format 1.0");
    size_t length = start[8] + 256u * start[9];
    need(fread(header, 1, length, file) == length, path, "is truncated");
    shape_text(shape, array);
    snprintf(dtype, sizeof dtype, "'descr': '%s'", descr);
    need(strstr(header, dtype) != NULL, path, "has another dtype than case.txt says");
    need(strstr(header, shape) != NULL, path, "has another shape than case.txt says");
    need(strstr(header, "'fortran_order': False") != NULL, path, "is not in C order");
    size_t size = (size_t)array->size;
    array->data = allocate(size, item);
    need(fread(array->data, item, size, file) == size, path, "is truncated");
    need(fgetc(file) == EOF, path, "is longer than its header says");
    fclose(file);
}

static void write_npy(const char *folder, const char *name, const Array *array) {
    char path[FILENAME_MAX], shape[128], header[256];
    FILE *file = open_file(path, folder, name, "wb");
    shape_text(shape, array);
    int used = sprintf(header, "{'descr': '%s', 'fortran_order': False, %s, }",
                       REAL_DESCR, shape);
    int length = (10 + used + 1 + 63) / 64 * 64 - 10;  // the data start at 64 n
    unsigned char start[10] = "\x93NUMPY\x01";
    start[8] = (unsigned char)(length % 256);
    start[9] = (unsigned char)(length / 256);
    fwrite(start, 1, 10, file);
    fprintf(file, "%-*s\n", length - 1, header);
    fwrite(array->data, sizeof(real), (size_t)array->size, file);
    bool failed = ferror(file);
    need(fclose(file) == 0 && !failed, path, "cannot be written");
}

// A line "in.x=float32 2 37 3 5": the name is "x", the value what follows "=".
static void read_array(Case *c, const char *folder, const char *name, char *value) {
    int which = 0;
    while (which < ARRAYS && strcmp(NAMES[which], name)) which++;
    if (which == ARRAYS) stop(NOT_PROVIDED, name, "this program has no such argument");
    bool whole = which == CU_SEQLENS || which == SLOTS;
    Array *array = &c->in[which];
    char *word = strtok(value, " ");
    need(word && !strcmp(word, whole ? "int64" : REAL_NAME), name, "has another dtype");
    need(array->data == NULL, name, "is given twice");
    for (array->size = 1; (word = strtok(NULL, " ")); array->rank++) {
        need(array->rank < RANKS, name, "has too many axes");
        char *end;
        long n = array->shape[array->rank] = strtol(word, &end, 10);
        need(!*end && n >= 0 && n <= LARGEST, name, "has no such size");
        array->size = product(array->size, n);
    }
    if (whole) read_npy(folder, NAMES[which], "<i8", sizeof(int64_t), array);
    else read_npy(folder, NAMES[which], REAL_DESCR, sizeof(real), array);
}

static void read_line(Case *c, const char *folder, const char *key, char *value) {
    if (!strcmp(key, "format")) {
        need(!strcmp(value, "1"), "case.txt", "has another format than 1");
    } else if (!strcmp(key, "op")) {
        c->is_step = !strcmp(value, "mamba2.ssd_step");
        if (!c->is_step && strcmp(value, "mamba2.ssd"))
            stop(NOT_PROVIDED, value, "this program has no such op");
    } else if (!strcmp(key, "dtype")) {
        if (strcmp(value, REAL_NAME))
            stop(NOT_PROVIDED, value, "this program was built for another dtype");
    } else if (!strncmp(key, "in.", 3)) {
        read_array(c, folder, key + 3, value);
    } else if (!strcmp(key, "option.dt_softplus")) {
        c->softplus = strcmp(value, "0");
    } else if (!strcmp(key, "option.dt_limit")) {
        char *rest, *end;
        c->low = (real)strtod(value, &rest);
        c->high = (real)strtod(rest, &end);
        need(rest != value && end != rest && !*end, key, "needs two numbers");
    } else if (!strncmp(key, "option.", 7)) {
        stop(NOT_PROVIDED, key, "this program has no such option");
    }  // id and the expected outputs are known without reading them
}

static void read_case(Case *c, const char *folder) {
    char path[FILENAME_MAX], line[4096];
    FILE *file = open_file(path, folder, "case.txt", "r");
    *c = (Case){.low = 0, .high = (real)INFINITY};
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *equals = strchr(line, '=');
        need(equals != NULL, path, "has a line without =");
        *equals = 0;
        read_line(c, folder, line, equals + 1);
    }
    fclose(file);
}

static void need_size(const Case *c, int which, long size, bool required) {
    const Array *array = &c->in[which];
    need(array->data || !required, NAMES[which], "is missing");
    need(!array->data || array->size == size, NAMES[which], "does not fit the others");
}

// Derive the sizes, and check that no array is shorter than what is read from it.
static void check_case(Case *c) {
    const Array *x = &c->in[X], *b = &c->in[B];
    need(x->rank == (c->is_step ? 3 : 4), "x", "has another number of axes");
    need(b->rank == x->rank, "B", "has another number of axes than x");
    c->tokens = c->is_step ? x->shape[0] : product(x->shape[0], x->shape[1]);
    c->heads = x->shape[x->rank - 2], c->headdim = x->shape[x->rank - 1];
    c->groups = b->shape[b->rank - 2], c->state = b->shape[b->rank - 1];
    need(c->groups > 0 && c->heads % c->groups == 0, "B", "groups must divide heads");
    need_size(c, DT, product(c->tokens, c->heads), true);
    need_size(c, A, c->heads, true);
    long projection = product(c->groups, c->state);
    long features = product(c->heads, c->headdim);
    need_size(c, B, product(c->tokens, projection), true);
    need_size(c, C, b->size, true);
    need_size(c, D, c->in[D].rank == 1 ? c->heads : features, false);
    need_size(c, Z, x->size, false);
    need_size(c, DT_BIAS, c->heads, false);
    need_size(c, SLOTS, x->shape[0], false);
    c->rows = x->shape[0];
    if (c->in[CU_SEQLENS].data) c->rows = c->in[CU_SEQLENS].size - 1;
    if (c->in[SLOTS].data) c->rows = c->in[STATE].shape[0];
    c->cells = product(c->rows, product(features, c->state));
    need_size(c, c->is_step ? STATE : INITIAL_STATE, c->cells, c->is_step);
}

static real step_size(const Case *c, long t, long head) {
    const real *bias = c->in[DT_BIAS].data;
    real dt = ((const real *)c->in[DT].data)[t * c->heads + head];
    if (bias) dt += bias[head];
    if (c->softplus && dt <= 20) dt = log1p(exp(dt));
    return dt < c->low ? c->low : dt > c->high ? c->high : dt;
}

static real skip_and_gate(const Case *c, real y, long t, long head, long p) {
    const real *x = c->in[X].data, *z = c->in[Z].data, *skip = c->in[D].data;
    long i = (t * c->heads + head) * c->headdim + p;
    if (skip) y += skip[c->in[D].rank == 1 ? head : head * c->headdim + p] * x[i];
    return z ? y * z[i] / (1 + exp(-z[i])) : y;
}

// Advance the state h (heads, headdim, state) by token t, write its y (heads, headdim).
static void token(const Case *c, long t, real *h, real *y) {
    for (long head = 0; head < c->heads; head++) {
#ifdef TILED_GROUPS  // a real bug of other programs, to see that it is found
        long group = head % c->groups;
#else
        long group = head / (c->heads / c->groups);
#endif
        const real *x = (real *)c->in[X].data + (t * c->heads + head) * c->headdim;
        const real *b = (real *)c->in[B].data + (t * c->groups + group) * c->state;
        const real *read = (real *)c->in[C].data + (t * c->groups + group) * c->state;
        real dt = step_size(c, t, head);
        real decay = exp(dt * ((real *)c->in[A].data)[head]);
        for (long p = 0; p < c->headdim; p++) {
            real *row = h + (head * c->headdim + p) * c->state, sum = 0;
            for (long n = 0; n < c->state; n++) {
                row[n] = decay * row[n] + dt * x[p] * b[n];
                sum += row[n] * read[n];
            }
            *y++ = skip_and_gate(c, sum, t, head, p);
        }
    }
}

// Tokens `first` to `last` are one sequence whose state is the row `row`.
static void sequence(const Case *c, int64_t first, int64_t last, int64_t row, Array *h,
                     Array *y) {
    need(0 <= first && first <= last && last <= c->tokens, "cu_seqlens",
         "is no bounds of sequences");
    need(row < c->rows, "slots", "names a slot that the state does not have");
    if (row < 0) return;  // padding: y stays 0
    real *own = (real *)h->data + row * c->heads * c->headdim * c->state;
    long features = c->heads * c->headdim;
    for (long t = (long)first; t < (long)last; t++)
        token(c, t, own, (real *)y->data + t * features);
}

int main(int count, char **arguments) {
    if (count != 3) stop(BROKEN, "usage", "ssd IN OUT");
    Case c;
    read_case(&c, arguments[1]);
    check_case(&c);
    const Array *start = &c.in[c.is_step ? STATE : INITIAL_STATE];
    Array y = c.in[X];
    Array h = {4, {c.rows, c.heads, c.headdim, c.state}, c.cells, NULL};
    y.data = allocate((size_t)y.size, sizeof(real));
    h.data = allocate((size_t)h.size, sizeof(real));
    if (start->data) memcpy(h.data, start->data, (size_t)h.size * sizeof(real));
    const int64_t *bounds = c.in[CU_SEQLENS].data, *slots = c.in[SLOTS].data;
    long sequences = bounds ? c.rows : y.shape[0], length = c.is_step ? 1 : y.shape[1];
    for (long i = 0; i < sequences; i++) {
        int64_t first = bounds ? bounds[i] : i * length;
        int64_t last = bounds ? bounds[i + 1] : first + length;
        sequence(&c, first, last, slots ? slots[i] : i, &h, &y);
    }
    write_npy(arguments[2], "y.npy", &y);
    write_npy(arguments[2], "final_state.npy", &h);
    free(y.data);
    free(h.data);
    for (int i = 0; i < ARRAYS; i++) free(c.in[i].data);
}
