//! Finds where in a function a NaN must be made canonical, and makes it so there. Each value on the stack is followed from the
//! operator that put it there to the one that takes it; where one that may not be canonical is taken by something that looks at
//! bits, it is made canonical right after it was put. A local variable counts as one value, wherever it is read and written.
//! Called for each function of a module.

use wasm_encoder::{Encode, Ieee32, Ieee64, Instruction, ValType};
use wasmparser::{BinaryReader, BinaryReaderError, FuncToValidate, FuncValidatorAllocations, FunctionBody, OperatorsReader, ValidatorResources};

use super::step::{Float, Step, computed, step};

/// Rounds after which any local variable is taken to hold what has to keep its bits. Compilers' code needs two or three.
const ROUNDS_MAX: usize = 32;
const NAN_32: u32 = 0x7fc0_0000;
const NAN_64: u64 = 0x7ff8_0000_0000_0000;

/// A function that computes with floating point numbers.
struct Function {
    /// What each operator does, and how many values are on the stack then.
    steps: Vec<(Step, usize)>,
    /// Where each operator ends in the body.
    ends: Vec<usize>,
    /// Bytes of the body before its first operator.
    declared: usize,
    parameters: usize,
    /// Together with the parameters.
    locals: usize,
}

/// What is known of the bits of a value.
#[derive(Clone, Copy)]
enum Bits {
    /// A NaN has to keep its bits. So has what is no floating point number.
    Kept,
    /// A NaN is canonical.
    Canonical,
    /// A NaN may be any, and has to become the canonical one before its bits are seen. Which step put it.
    Any { by: usize, float: Float },
}

/// For each step, what it puts if a NaN in it must be made canonical.
type Seen = Vec<Option<Float>>;

/// The function's body, if it has to change.
pub(super) fn rewrite(function: FuncToValidate<ValidatorResources>, body: &FunctionBody<'_>) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    for operator in body.get_operators_reader()? {
        if computed(&operator?).is_some() {
            let function = Function::read(function, body)?;
            let seen = function.seen();
            let has_seen = seen.iter().any(Option::is_some);
            return if has_seen { function.write(body, &seen).map(Some) } else { Ok(None) };
        }
    }
    Ok(None)
}

impl Function {
    fn read(function: FuncToValidate<ValidatorResources>, body: &FunctionBody<'_>) -> Result<Self, BinaryReaderError> {
        let mut validator = function.into_validator(FuncValidatorAllocations::default());
        let parameters = validator.len_locals() as usize;
        let mut reader = body.get_binary_reader();
        let start = reader.original_position();
        let place = |position: u64| (position - start) as usize;
        validator.read_locals(&mut reader)?;
        let declared = place(reader.original_position());
        let (mut steps, mut ends) = (Vec::new(), Vec::new());
        let mut operators = OperatorsReader::new(reader);
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            let is_reached = validator.get_control_frame(0).is_some_and(|frame| !frame.unreachable);
            let step = if is_reached { step(&operator, &validator) } else { Step::Never };
            validator.op(offset, &operator)?;
            steps.push((step, validator.operand_stack_height() as usize));
            ends.push(place(operators.original_position()));
        }
        operators.finish()?;
        Ok(Self { steps, ends, declared, parameters, locals: validator.len_locals() as usize })
    }

    /// Where a NaN must be made canonical.
    fn seen(&self) -> Seen {
        // Local variables in which a NaN has to keep its bits: parameters, and what is ever given such a value.
        let mut kept = vec![false; self.locals];
        kept[..self.parameters].fill(true);
        for _ in 0..ROUNDS_MAX {
            let before = kept.clone();
            let seen = self.follow(&mut kept);
            if kept == before {
                return seen;
            }
        }
        kept.fill(true);
        self.follow(&mut kept)
    }

    /// Follows all values once, and notes further local variables in which a NaN has to keep its bits.
    fn follow(&self, kept: &mut [bool]) -> Seen {
        let mut seen = vec![None; self.steps.len()];
        let mut stack = Vec::new();
        for (by, &(step, height)) in self.steps.iter().enumerate() {
            match step {
                Step::Compute { taken, float } => {
                    take(&mut stack, taken);
                    stack.push(Bits::Any { by, float });
                    if matches!(float, Float::F32x4 | Float::F64x2) {
                        look(&mut stack, 1, &mut seen);
                    }
                }
                Step::Compare { taken } => take(&mut stack, taken),
                Step::Number { taken } => {
                    take(&mut stack, taken);
                    stack.push(Bits::Canonical);
                }
                Step::Absolute => {
                    if let Some(Bits::Any { by: last, .. }) = stack.last_mut() {
                        *last = by;
                    }
                }
                Step::Select => {
                    take(&mut stack, 1);
                    let two = stack.split_off(stack.len().saturating_sub(2));
                    stack.push(one_of(two, by, &mut seen));
                }
                Step::Get { local, float } => stack.push(if kept[local] { Bits::Kept } else { Bits::Any { by, float } }),
                Step::Set { local, is_left } => {
                    let bits = stack.pop().unwrap_or(Bits::Kept);
                    kept[local] |= matches!(bits, Bits::Kept);
                    let bits = if kept[local] { see(bits, &mut seen) } else { bits };
                    if is_left {
                        stack.push(bits);
                    }
                }
                Step::Look { taken } => look(&mut stack, taken, &mut seen),
                Step::Never => {}
            }
            stack.resize(height, Bits::Kept);
        }
        seen
    }

    /// The body, where what is seen is made canonical after the step that put it.
    fn write(&self, body: &FunctionBody<'_>, seen: &Seen) -> Result<Vec<u8>, BinaryReaderError> {
        let bytes = body.as_bytes();
        let mut declarations = BinaryReader::new(&bytes[..self.declared], 0);
        let groups = declarations.read_var_u32()?;
        let used: Vec<Float> = [Float::F32, Float::F64, Float::F32x4, Float::F64x2].into_iter().filter(|float| seen.contains(&Some(*float))).collect();
        let mut written = Vec::with_capacity(bytes.len() * 2);
        (groups as usize + used.len()).encode(&mut written);
        written.extend_from_slice(&bytes[declarations.original_position() as usize..self.declared]);
        for float in &used {
            1_u32.encode(&mut written);
            value_type(*float).encode(&mut written);
        }
        let mut start = self.declared;
        for (end, seen) in self.ends.iter().zip(seen) {
            written.extend_from_slice(&bytes[start..*end]);
            start = *end;
            if let Some(float) = seen {
                let index = used.iter().take_while(|used| *used != float).count();
                make_canonical(*float, (self.locals + index) as u32, &mut written);
            }
        }
        Ok(written)
    }
}

/// Takes the last values without a look at them.
fn take(stack: &mut Vec<Bits>, taken: usize) {
    stack.truncate(stack.len().saturating_sub(taken));
}

/// Takes the last values, whose bits are seen.
fn look(stack: &mut Vec<Bits>, taken: usize, seen: &mut Seen) {
    for bits in stack.drain(stack.len().saturating_sub(taken)..) {
        see(bits, seen);
    }
}

/// What a value is from then on that its bits are seen.
fn see(bits: Bits, seen: &mut Seen) -> Bits {
    if let Bits::Any { by, float } = bits {
        seen[by] = Some(float);
    }
    Bits::Kept
}

/// What a step puts that takes one of these values, or the other.
fn one_of(values: Vec<Bits>, by: usize, seen: &mut Seen) -> Bits {
    let is_kept = values.iter().any(|bits| matches!(bits, Bits::Kept));
    let float = values.iter().find_map(|bits| if let Bits::Any { float, .. } = bits { Some(*float) } else { None });
    match float {
        // Afterwards nobody knows which it was.
        _ if is_kept => values.into_iter().fold(Bits::Kept, |_, bits| see(bits, seen)),
        Some(float) => Bits::Any { by, float },
        None => Bits::Canonical,
    }
}

fn value_type(float: Float) -> ValType {
    match float {
        Float::F32 => ValType::F32,
        Float::F64 => ValType::F64,
        Float::F32x4 | Float::F64x2 => ValType::V128,
    }
}

/// Replaces a NaN on the stack by the canonical one. A number is not less than itself, and a NaN not even as large: this is the
/// comparison that processors answer with one flag, which is predicted well.
fn make_canonical(float: Float, local: u32, written: &mut Vec<u8>) {
    let [nan, compare, choose] = match float {
        Float::F32 => [Instruction::F32Const(Ieee32::new(NAN_32)), Instruction::F32Ge, Instruction::Select],
        Float::F64 => [Instruction::F64Const(Ieee64::new(NAN_64)), Instruction::F64Ge, Instruction::Select],
        Float::F32x4 => [Instruction::V128Const(lanes(&[NAN_32.to_le_bytes(); 4])), Instruction::F32x4Eq, Instruction::V128Bitselect],
        Float::F64x2 => [Instruction::V128Const(lanes(&[NAN_64.to_le_bytes(); 2])), Instruction::F64x2Eq, Instruction::V128Bitselect],
    };
    let again = || Instruction::LocalGet(local);
    for instruction in [Instruction::LocalTee(local), nan, again(), again(), compare, choose] {
        instruction.encode(written);
    }
}

/// A vector of equal numbers.
fn lanes<const BYTES: usize, const COUNT: usize>(lanes: &[[u8; BYTES]; COUNT]) -> i128 {
    lanes.iter().flatten().rev().fold(0, |vector, byte| vector << 8 | i128::from(*byte))
}
