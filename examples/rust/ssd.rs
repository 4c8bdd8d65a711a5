//! Mamba-2's SSD and its step with Rust's standard library alone, as a program that
//! `ssmref verify` can judge.
//!
//! ```text
//! rustc --edition 2021 -O -o ssd ssd.rs
//! ssmref verify --exec './ssd {in} {out}' --op mamba2.ssd --op mamba2.ssd_step
//!
//! dt[t] = clip(softplus(dt[t] + dt_bias), dt_limit)
//! h[t] = exp(dt[t] A) h[t-1] + dt[t] x[t] B[t]^T
//! y[t] = (h[t] C[t] + D x[t]) silu(z[t])
//! ```
//!
//! It computes in float32. A case is read from IN/case.txt and IN/in/*.npy, results go
//! to OUT/*.npy. Exit status: 0 done, 1 a broken case, 77 a case that this program does
//! not provide.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, iter};

const ARRAYS: [&str; 10] =
    ["x", "dt", "A", "B", "C", "D", "z", "dt_bias", "initial_state", "state"];
const INDICES: [&str; 2] = ["cu_seqlens", "slots"];
/// Elements; a case that claims more is not believed.
const LARGEST: usize = 1 << 28;

enum Failure {
    Broken(String),
    NotProvided(String),
}
use Failure::{Broken, NotProvided};

type Outcome<T> = Result<T, Failure>;

fn need(holds: bool, why: impl Into<String>) -> Outcome<()> {
    if holds {
        Ok(())
    } else {
        Err(Broken(why.into()))
    }
}

/// A number that an `.npy` file can hold.
trait Element: Sized {
    const NAME: &'static str;
    const DESCR: &'static str;
    const SIZE: usize;
    fn decode(bytes: &[u8]) -> Self;
}

impl Element for f32 {
    const NAME: &'static str = "float32";
    const DESCR: &'static str = "<f4";
    const SIZE: usize = 4;
    fn decode(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes.try_into().expect("chunks of this size"))
    }
}

impl Element for i64 {
    const NAME: &'static str = "int64";
    const DESCR: &'static str = "<i8";
    const SIZE: usize = 8;
    fn decode(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes.try_into().expect("chunks of this size"))
    }
}

struct Array<T> {
    shape: Vec<usize>,
    data: Vec<T>,
}

#[derive(Default)]
struct Case {
    is_step: bool,
    softplus: bool,
    limit: Option<(f32, f32)>,
    arrays: HashMap<String, Array<f32>>,
    indices: HashMap<String, Array<i64>>,
}

impl Case {
    fn array(&self, name: &str) -> Option<&Array<f32>> {
        self.arrays.get(name)
    }

    fn required(&self, name: &str) -> Outcome<&Array<f32>> {
        self.array(name).ok_or_else(|| Broken(format!("{name} is missing")))
    }

    fn data(&self, name: &str) -> Option<&[f32]> {
        self.array(name).map(|array| array.data.as_slice())
    }
}

/// Write "'shape': (2, 37)" or "'shape': (3,)" as an `.npy` header has it.
fn shape_text(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    format!("'shape': ({}{comma})", sizes.join(", "))
}

/// The file must hold exactly what case.txt says of it: dtype, shape, C order, data.
fn read_npy<T: Element>(path: &Path, shape: Vec<usize>) -> Outcome<Array<T>> {
    let broken = |why: &str| Broken(format!("{}: {why}", path.display()));
    let bytes = fs::read(path).map_err(|error| broken(&error.to_string()))?;
    let rest = bytes
        .strip_prefix(b"\x93NUMPY\x01\x00")
        .ok_or_else(|| broken("is no .npy file of format 1.0"))?;
    let truncated = || broken("is truncated");
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
    let length = usize::from(u16::from_le_bytes(*length));
    let header = rest.get(..length).ok_or_else(truncated)?;
    let header = String::from_utf8_lossy(header);
    for part in [
        format!("'descr': '{}'", T::DESCR),
        "'fortran_order': False".to_string(),
        shape_text(&shape),
    ] {
        if !header.contains(&part) {
            return Err(broken(&format!("its header lacks {part}")));
        }
    }
    let data = &rest[length..];
    if data.len() != T::SIZE * shape.iter().product::<usize>() {
        return Err(broken(&format!("has {} bytes of data", data.len())));
    }
    let data = data.chunks_exact(T::SIZE).map(T::decode).collect();
    Ok(Array { shape, data })
}

fn write_npy(path: &Path, array: &Array<f32>) -> Outcome<()> {
    let shape = shape_text(&array.shape);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).expect("four axes have a short header");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(array.data.iter().flat_map(|value| value.to_le_bytes()));
    fs::write(path, bytes)
        .map_err(|error| Broken(format!("{}: {error}", path.display())))
}

/// A line "in.x=float32 2 37 3 5": the name is "x", the value what follows "=".
fn read_array<T: Element>(folder: &Path, name: &str, value: &str) -> Outcome<Array<T>> {
    let mut words = value.split(' ');
    need(words.next() == Some(T::NAME), format!("{name} is not in {}", T::NAME))?;
    let shape: Result<Vec<usize>, _> = words.map(str::parse).collect();
    let shape = shape.map_err(|_| Broken(format!("{name} has the shape {value:?}")))?;
    let size = shape.iter().try_fold(1, |size: usize, &n| size.checked_mul(n.max(1)));
    need(size.is_some_and(|size| size <= LARGEST), format!("{name} is too large"))?;
    read_npy(&folder.join("in").join(format!("{name}.npy")), shape)
}

fn read_limit(value: &str) -> Option<(f32, f32)> {
    let (low, high) = value.split_once(' ')?;
    let (low, high): (f32, f32) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then_some((low, high))
}

fn read_line(case: &mut Case, folder: &Path, key: &str, value: &str) -> Outcome<()> {
    match (key, value) {
        ("format", "1") | ("op", "mamba2.ssd") | ("dtype", "float32") => {}
        ("op", "mamba2.ssd_step") => case.is_step = true,
        ("format", _) => return Err(Broken(format!("the format is {value}"))),
        ("op" | "dtype", _) => return Err(NotProvided(format!("no {key} {value}"))),
        ("option.dt_softplus", _) => case.softplus = value != "0",
        ("option.dt_limit", _) => {
            case.limit = read_limit(value);
            need(case.limit.is_some(), format!("{key} is {value:?}"))?;
        }
        _ => match key.split_once('.') {
            Some(("in", name)) if ARRAYS.contains(&name) => {
                let array = read_array(folder, name, value)?;
                case.arrays.insert(name.to_string(), array);
            }
            Some(("in", name)) if INDICES.contains(&name) => {
                let array = read_array(folder, name, value)?;
                case.indices.insert(name.to_string(), array);
            }
            Some(("in" | "option", name)) => {
                return Err(NotProvided(format!("no argument {name}")));
            }
            _ => {} // the id and the expected outputs are known without reading them
        },
    }
    Ok(())
}

fn read_case(folder: &Path) -> Outcome<Case> {
    let path = folder.join("case.txt");
    let broken = |why: &str| Broken(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(&path).map_err(|error| broken(&error.to_string()))?;
    let mut case = Case::default();
    for line in text.lines() {
        let (key, value) =
            line.split_once('=').ok_or_else(|| broken("a line has no ="))?;
        read_line(&mut case, folder, key, value)?;
    }
    Ok(case)
}

#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    heads: usize,
    headdim: usize,
    groups: usize,
    state: usize,
}

/// Derive the sizes, and check that no array is shorter than what is read from it.
fn sizes_of(case: &Case) -> Outcome<Sizes> {
    let (x, b) = (&case.required("x")?.shape, &case.required("B")?.shape);
    let lead = if case.is_step { 1 } else { 2 };
    need(
        x.len() == lead + 2 && b.len() == x.len(),
        "x or B has another number of axes",
    )?;
    let s = Sizes {
        tokens: x[..lead].iter().product(),
        heads: x[lead],
        headdim: x[lead + 1],
        groups: b[lead],
        state: b[lead + 1],
    };
    need(s.headdim > 0 && s.state > 0, "an axis has no entry")?;
    need(s.groups > 0 && s.heads % s.groups == 0, "the groups must divide the heads")?;
    let features = s.heads * s.headdim;
    let skip = case.array("D").map_or(1, |skip| skip.shape.len());
    for (name, size, required) in [
        ("dt", s.tokens * s.heads, true),
        ("A", s.heads, true),
        ("B", s.tokens * s.groups * s.state, true),
        ("C", s.tokens * s.groups * s.state, true),
        ("D", if skip == 1 { s.heads } else { features }, false),
        ("z", s.tokens * features, false),
        ("dt_bias", s.heads, false),
    ] {
        let fits = case.data(name).map_or(!required, |data| data.len() == size);
        need(fits, format!("{name} is missing or does not fit the others"))?;
    }
    Ok(s)
}

fn softplus(x: f32) -> f32 {
    if x > 20.0 {
        x
    } else {
        x.exp().ln_1p()
    }
}

fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    iter::zip(a, b).map(|(a, b)| a * b).sum()
}

/// Advance the state (heads, headdim, state) by token `t` and return its y.
fn token(case: &Case, s: Sizes, t: usize, state: &mut [f32]) -> Vec<f32> {
    let [x, dt, a, b, c] =
        ["x", "dt", "A", "B", "C"].map(|name| &case.arrays[name].data);
    let (bias, z) = (case.data("dt_bias"), case.data("z"));
    let (low, high) = case.limit.unwrap_or((0.0, f32::INFINITY));
    let mut y = Vec::with_capacity(s.heads * s.headdim);
    for (i, row) in state.chunks_exact_mut(s.state).enumerate() {
        let (head, feature) = (i / s.headdim, t * s.heads * s.headdim + i);
        let group = t * s.groups + head / (s.heads / s.groups);
        let projection = group * s.state..(group + 1) * s.state;
        let raw = dt[t * s.heads + head] + bias.map_or(0.0, |bias| bias[head]);
        let step = if case.softplus { softplus(raw) } else { raw };
        let step = step.clamp(low, high);
        let decay = (step * a[head]).exp();
        for (h, b) in iter::zip(row.iter_mut(), &b[projection.clone()]) {
            *h = decay * *h + step * x[feature] * b;
        }
        let mut sum = dot(row, &c[projection]);
        if let Some(skip) = case.array("D") {
            let entry = if skip.shape.len() == 1 { head } else { i };
            sum += skip.data[entry] * x[feature];
        }
        y.push(z.map_or(sum, |z| sum * silu(z[feature])));
    }
    y
}

/// The tokens of each sequence and the row of the state that it uses, if any.
fn sequences(case: &Case, s: Sizes) -> Outcome<Vec<(Range<usize>, Option<usize>)>> {
    let x = &case.arrays["x"].shape;
    let length = if case.is_step { 1 } else { x[1] };
    let bounds: Vec<usize> = match case.indices.get("cu_seqlens") {
        Some(given) => {
            given.data.iter().map(|&n| n.try_into().unwrap_or(usize::MAX)).collect()
        }
        None => (0..=x[0]).map(|i| i * length).collect(),
    };
    need(
        bounds.last().is_some_and(|&last| last <= s.tokens),
        "cu_seqlens end elsewhere",
    )?;
    need(bounds.is_sorted(), "cu_seqlens decrease")?;
    let count = bounds.len() - 1;
    let slots: Vec<Option<usize>> = match case.indices.get("slots") {
        Some(given) => given.data.iter().map(|&slot| slot.try_into().ok()).collect(),
        None => (0..count).map(Some).collect(),
    };
    need(slots.len() == count, "slots do not fit the batch")?;
    let tokens = bounds.windows(2).map(|pair| pair[0]..pair[1]);
    Ok(iter::zip(tokens, slots).collect())
}

fn ssd(case: &Case) -> Outcome<(Array<f32>, Array<f32>)> {
    let s = sizes_of(case)?;
    let sequences = sequences(case, s)?;
    let features = s.heads * s.headdim;
    let cells = features * s.state;
    let start = case.array(if case.is_step { "state" } else { "initial_state" });
    need(start.is_some() || !case.is_step, "state is missing")?;
    let rows = match case.indices.get("slots") {
        Some(_) => case.required("state")?.shape.first().copied().unwrap_or(0),
        None => sequences.len(),
    };
    need(cells <= LARGEST / rows.max(1), "the state is too large")?;
    let mut state =
        start.map_or_else(|| vec![0.0; rows * cells], |array| array.data.clone());
    need(state.len() == rows * cells, "the state does not fit the others")?;
    let mut y = vec![0.0; s.tokens * features];
    for (tokens, row) in sequences {
        let Some(row) = row else { continue }; // padding: y stays 0
        need(row < rows, format!("slot {row} is not one of {rows}"))?;
        let own = &mut state[row * cells..(row + 1) * cells];
        for t in tokens {
            let outputs = token(case, s, t, own);
            y[t * features..(t + 1) * features].copy_from_slice(&outputs);
        }
    }
    let shape = case.arrays["x"].shape.clone();
    let y = Array { shape, data: y };
    let shape = vec![rows, s.heads, s.headdim, s.state];
    Ok((y, Array { shape, data: state }))
}

fn run(inputs: &Path, outputs: &Path) -> Outcome<()> {
    let (y, final_state) = ssd(&read_case(inputs)?)?;
    write_npy(&outputs.join("y.npy"), &y)?;
    write_npy(&outputs.join("final_state.npy"), &final_state)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [inputs, outputs] = arguments.as_slice() else {
        eprintln!("usage: ssd IN OUT");
        return ExitCode::from(1);
    };
    match run(inputs.as_ref(), outputs.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Broken(why)) => {
            eprintln!("{why}");
            ExitCode::from(1)
        }
        Err(NotProvided(why)) => {
            eprintln!("{why}");
            ExitCode::from(77)
        }
    }
}
