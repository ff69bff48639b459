//! Calls of a running host: its admin socket, found through the data directory, and its HTTP door.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use host_wire::{admin, oip::ErrorBody};
use reqwest::{Body, Client as HttpClient, RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};

use super::Global;
use crate::{
    admin::socket_path,
    config,
    error::{Error, Fault},
};

/// Installing compiles and rehearses; nothing that is asked takes longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(600);
/// Opening a connection on this machine, or one that is near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The address that the admin socket is called by; the socket ignores it.
const ADMIN_URL: &str = "http://host";

/// The admin side of a running host.
#[derive(Debug)]
pub(super) struct Admin {
    http: HttpClient,
    socket: PathBuf,
}

impl Admin {
    /// Finds the host of the data directory. Refused when the person named a URL instead, which leads to the HTTP door only.
    pub(super) fn find(global: &Global) -> Result<Self, Error> {
        if let Some(url) = &global.url {
            return Err(Fault::Usage { reason: format!("this command asks the admin socket, and --url {url} leads to the HTTP door; use --data") }.into());
        }
        let socket = socket_path(&config::load(None, global.flags())?.config.data);
        let builder = HttpClient::builder().timeout(CALL_TIMEOUT).unix_socket(socket.clone());
        Ok(Self { http: build(builder)?, socket })
    }

    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(self.http.get(format!("{ADMIN_URL}{path}"))).await
    }

    /// Asks for a text.
    pub(super) async fn text(&self, path: &str) -> Result<String, Error> {
        let body = self.answered(self.http.get(format!("{ADMIN_URL}{path}"))).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Asks for something, with a query.
    pub(super) async fn query<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, Error> {
        self.call(self.http.get(format!("{ADMIN_URL}{path}")).query(query)).await
    }

    /// Has something done.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize, body: impl Into<Body>) -> Result<T, Error> {
        self.call(self.http.post(format!("{ADMIN_URL}{path}")).query(query).body(body)).await
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let body = self.answered(request).await?;
        serde_json::from_slice(&body).map_err(|error| Error::from(Fault::Call { url: self.called() }).because(error))
    }

    async fn answered(&self, request: RequestBuilder) -> Result<Bytes, Error> {
        let response = request.send().await.map_err(|error| match error.is_connect() {
            true => Error::from(Fault::NoHost { socket: self.called() }),
            false => Error::from(Fault::Call { url: self.called() }).because(error.without_url()),
        })?;
        whole(response).await
    }

    /// How errors name the host.
    fn called(&self) -> String {
        self.socket.display().to_string()
    }
}

/// The HTTP door of a host.
#[derive(Clone, Debug)]
pub(super) struct Door {
    http: HttpClient,
    /// Without a slash at its end.
    url: String,
}

impl Door {
    /// At the URL that the person named, or where the host of the data directory says that it is.
    pub(super) async fn find(global: &Global) -> Result<Self, Error> {
        let url = match &global.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let admin = Admin::find(global)?;
                let status: admin::Status = admin.get("/status").await?;
                let closed = || Fault::Usage { reason: "the host has no HTTP door open".into() };
                format!("http://{}", status.http.ok_or_else(closed)?)
            }
        };
        Ok(Self { http: build(HttpClient::builder().timeout(CALL_TIMEOUT))?, url })
    }

    /// Sends a body; gives the answer's body and the length header, if there is one.
    pub(super) async fn post(&self, path: &str, content_type: &str, body: Bytes) -> Result<(Bytes, Option<usize>), Error> {
        let url = format!("{}{path}", self.url);
        let request = self.http.post(&url).header("content-type", content_type).body(Body::from(body));
        let response = request.send().await.map_err(|error| Error::from(Fault::Call { url }).because(error.without_url()))?;
        let length = response.headers().get(host_wire::oip::LENGTH_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((whole(response).await?, length))
    }
}

fn build(builder: reqwest::ClientBuilder) -> Result<HttpClient, Error> {
    let built = builder.connect_timeout(CONNECT_TIMEOUT).no_proxy().build();
    built.map_err(|error| Error::from(Fault::Call { url: "the host".into() }).because(error))
}

/// The body of an answer; an error that the host names becomes ours.
async fn whole(response: Response) -> Result<Bytes, Error> {
    let (status, url) = (response.status(), response.url().to_string());
    let body = response.bytes().await.map_err(|error| Error::from(Fault::Call { url: url.clone() }).because(error.without_url()))?;
    if status.is_success() {
        return Ok(body);
    }
    let stated = serde_json::from_slice::<ErrorBody>(&body).map(|body| body.error);
    let message = stated.unwrap_or_else(|_| format!("{url} answered with status {status}"));
    Err(Fault::Answer { message }.into())
}
