//! Turns strangers away from services for hosts that have enrolled, before anything of what they send is kept.

use std::sync::Arc;

use tonic::{Request, Status};

use super::{door::Caller, refusals::Refusals, unwelcome::Unwelcome};

/// What a caller without a certificate hears.
pub(super) fn no_certificate() -> Status {
    Status::unauthenticated("the connection has shown no certificate; enrol with a token first, `host token create` on the central makes one")
}

/// Goes before a service, and lets nobody through but callers with a certificate.
pub fn known_only(refusals: Arc<Refusals>) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone + Send + Sync + 'static {
    move |request: Request<()>| {
        let caller = request.extensions().get::<Caller>();
        if caller.is_some_and(|caller| caller.certificate.is_some()) {
            return Ok(request);
        }
        let address = caller.map_or_else(|| "nowhere".to_owned(), |caller| caller.address.to_string());
        refusals.note(Unwelcome::NoCertificate, &address, "it asks for what needs a certificate, and has none");
        Err(no_certificate())
    }
}
