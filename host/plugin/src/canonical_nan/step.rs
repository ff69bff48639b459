//! What each operator does to floating point numbers. What is not named here may look at each bit of what it takes.

use wasmparser::{FuncValidator, Operator, ValType, ValidatorResources};

/// A type of floating point numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Float {
    F32,
    F64,
    F32x4,
    F64x2,
}

/// What an operator does to the values on the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Computes one from so many, without looking at the bits of a NaN. It may bring forth any NaN.
    Compute { taken: usize, float: Float },
    /// Takes so many without looking at the bits of a NaN, and puts none.
    Compare { taken: usize },
    /// Puts a number, or a NaN that is canonical, for so many that hold none.
    Number { taken: usize },
    /// Clears the sign, which leaves a canonical NaN as it is.
    Absolute,
    /// Puts one of two.
    Select,
    /// Reads a local variable.
    Get { local: usize, float: Float },
    /// Writes a local variable, and may leave the value on the stack.
    Set { local: usize, is_left: bool },
    /// Takes so many, and may look at each bit of them or pass them on. A NaN that it puts has to keep its bits.
    Look { taken: usize },
    /// Is never reached.
    Never,
}

/// What the operator does, where this is what the validator knows before it.
pub(super) fn step(operator: &Operator<'_>, before: &FuncValidator<ValidatorResources>) -> Step {
    use Operator as O;
    if let Some(float) = computed(operator) {
        let taken = operator.operator_arity(before).map_or(usize::MAX, |(taken, _)| taken as usize);
        return Step::Compute { taken, float };
    }
    let followed = |local: u32| before.get_local_type(local).and_then(followed).map(|float| (local as usize, float));
    let is_selecting = || before.get_operand_type(1).flatten().and_then(self::followed).is_some();
    let followed_step = match *operator {
        O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le | O::F32Ge => Some(Step::Compare { taken: 2 }),
        O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le | O::F64Ge => Some(Step::Compare { taken: 2 }),
        O::I32TruncF32S | O::I32TruncF32U | O::I32TruncF64S | O::I32TruncF64U => Some(Step::Compare { taken: 1 }),
        O::I64TruncF32S | O::I64TruncF32U | O::I64TruncF64S | O::I64TruncF64U => Some(Step::Compare { taken: 1 }),
        O::I32TruncSatF32S | O::I32TruncSatF32U | O::I32TruncSatF64S | O::I32TruncSatF64U => Some(Step::Compare { taken: 1 }),
        O::I64TruncSatF32S | O::I64TruncSatF32U | O::I64TruncSatF64S | O::I64TruncSatF64U => Some(Step::Compare { taken: 1 }),
        O::Drop => Some(Step::Compare { taken: 1 }),
        O::F32ConvertI32S | O::F32ConvertI32U | O::F32ConvertI64S | O::F32ConvertI64U => Some(Step::Number { taken: 1 }),
        O::F64ConvertI32S | O::F64ConvertI32U | O::F64ConvertI64S | O::F64ConvertI64U => Some(Step::Number { taken: 1 }),
        O::F32Const { value } if !f32::from_bits(value.bits()).is_nan() => Some(Step::Number { taken: 0 }),
        O::F64Const { value } if !f64::from_bits(value.bits()).is_nan() => Some(Step::Number { taken: 0 }),
        O::F32Abs | O::F64Abs => Some(Step::Absolute),
        O::Select | O::TypedSelect { .. } if is_selecting() => Some(Step::Select),
        O::LocalGet { local_index } => followed(local_index).map(|(local, float)| Step::Get { local, float }),
        O::LocalSet { local_index } => followed(local_index).map(|(local, _)| Step::Set { local, is_left: false }),
        O::LocalTee { local_index } => followed(local_index).map(|(local, _)| Step::Set { local, is_left: true }),
        _ => None,
    };
    let looking = || Step::Look { taken: operator.operator_arity(before).map_or(usize::MAX, |(taken, _)| taken as usize) };
    followed_step.unwrap_or_else(looking)
}

/// The type whose values are followed one by one; vectors are not.
fn followed(value: ValType) -> Option<Float> {
    match value {
        ValType::F32 => Some(Float::F32),
        ValType::F64 => Some(Float::F64),
        _ => None,
    }
}

/// What the operator computes, where a NaN in it may be any. The standard leaves it to the machine for these and no others.
pub(super) fn computed(operator: &Operator<'_>) -> Option<Float> {
    use Operator as O;
    match operator {
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div | O::F32Min | O::F32Max => Some(Float::F32),
        O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest | O::F32Sqrt | O::F32DemoteF64 => Some(Float::F32),
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Div | O::F64Min | O::F64Max => Some(Float::F64),
        O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest | O::F64Sqrt | O::F64PromoteF32 => Some(Float::F64),
        O::F32x4Add | O::F32x4Sub | O::F32x4Mul | O::F32x4Div | O::F32x4Min | O::F32x4Max => Some(Float::F32x4),
        O::F32x4Ceil | O::F32x4Floor | O::F32x4Trunc | O::F32x4Nearest | O::F32x4Sqrt | O::F32x4DemoteF64x2Zero => Some(Float::F32x4),
        O::F32x4RelaxedMadd | O::F32x4RelaxedNmadd | O::F32x4RelaxedMin | O::F32x4RelaxedMax => Some(Float::F32x4),
        O::F64x2Add | O::F64x2Sub | O::F64x2Mul | O::F64x2Div | O::F64x2Min | O::F64x2Max => Some(Float::F64x2),
        O::F64x2Ceil | O::F64x2Floor | O::F64x2Trunc | O::F64x2Nearest | O::F64x2Sqrt | O::F64x2PromoteLowF32x4 => Some(Float::F64x2),
        O::F64x2RelaxedMadd | O::F64x2RelaxedNmadd | O::F64x2RelaxedMin | O::F64x2RelaxedMax => Some(Float::F64x2),
        _ => None,
    }
}
