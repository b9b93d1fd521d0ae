//! The HTTP server: binds, answers, stops cleanly.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use builder::task::TaskContext;
use tokio::net::TcpListener;

use crate::state::{AppState, Limits};
use crate::{events, router};

/// How long open connections may go on after the service was told to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// A bound server that does not answer yet.
pub struct Server {
    listener: TcpListener,
    state: AppState,
}

impl Server {
    /// Takes the address; `port` 0 is any free one.
    pub async fn bind(context: TaskContext, bind: IpAddr, port: u16, limits: Limits) -> anyhow::Result<Self> {
        let address = SocketAddr::new(bind, port);
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
        Ok(Self { listener, state: AppState::new(context, limits) })
    }

    /// Where it is, as a browser on this machine reaches it.
    pub fn url(&self) -> anyhow::Result<String> {
        let address = self.listener.local_addr()?;
        let host = if address.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { address.ip() };
        Ok(format!("http://{}", SocketAddr::new(host, address.port())))
    }

    /// Answers until the context's shutdown.
    pub async fn run(self) -> anyhow::Result<()> {
        let shutdown = self.state.context.shutdown.clone();
        let listening = tokio::spawn(events::listen(self.state.clone()));
        let (context, private) = (self.state.context.clone(), self.state.limits.private_webhooks);
        let telling = tokio::spawn(async move { builder::webhook::run(&context, private).await });
        let stopping = shutdown.clone();
        let router = router::router(self.state);
        let serving = axum::serve(self.listener, router)
            .with_graceful_shutdown(async move { stopping.cancelled().await })
            .into_future();
        tokio::select! {
            served = serving => served.context("serving")?,
            () = async { shutdown.cancelled().await; tokio::time::sleep(PATIENCE).await } => {
                tracing::warn!("connections were still open; they are closed now");
            }
        }
        shutdown.cancel();
        let _ = tokio::join!(listening, telling);
        Ok(())
    }
}
