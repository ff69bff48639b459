//! What can be wrong with what people ask of a device. Part of the daemon's one error.

use std::fmt;

use host_core::{ids::DeviceId, units::Millis};

/// Each thing that can be wrong with an order for a device.
#[derive(Clone, PartialEq, Debug)]
pub enum OrderFault {
    /// A device of the host's own process, which cannot be taken out of it.
    OwnDevice { device: DeviceId },
    /// A label that people cannot change so.
    Label { device: DeviceId, label: String, reason: String },
    /// A device that still holds something after the time that was given to it.
    NotDrained { device: String, waited: Millis, left: String },
    /// A device that was waited for and will not be drained.
    DrainEnded { device: String, state: String, reason: &'static str },
}

impl fmt::Display for OrderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnDevice { device } => {
                write!(f, "device {device} is part of this host's process and would be back at its next start; take it out of local_devices instead")
            }
            Self::Label { device, label, reason } => write!(f, "label `{label}` of device {device} cannot be changed: {reason}"),
            Self::NotDrained { device, waited, left } => write!(f, "device {device} is not drained after {waited}: it still holds {left}; it goes on draining"),
            Self::DrainEnded { device, state, reason } => write!(f, "device {device} is {state} and not drained: {reason}"),
        }
    }
}
