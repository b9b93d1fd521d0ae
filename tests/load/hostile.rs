//! Requests that want memory: none may make the service take much more than it had.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::client::Client;
use crate::service::Service;
use crate::table::Table;

/// MiB above the rest that a request may make the service take.
const MOST: f64 = 512.0;

pub async fn measure(client: &Client, service: &Service, table: &mut Table) -> anyhow::Result<()> {
    eprintln!("Requests that want memory");
    let mut most: (f64, &str) = (0.0, "");
    for (what, path, body) in requests()? {
        let (rest, _) = service.memory()?;
        service.forget_peak()?;
        let request = client.http.post(format!("{}{path}", client.api)).header("content-type", "application/json");
        // Refused, taken record by record, or broken off: all that counts is what it cost.
        let answer = request.body(body).send().await;
        let status = answer.map_or_else(|_| "broken off".to_owned(), |answer| answer.status().to_string());
        let grown = service.memory()?.1 - rest;
        eprintln!("  {what}: {status}, {grown:.0} MiB");
        if grown > most.0 {
            most = (grown, what);
        }
    }
    client.get("health").await?;
    table.row(
        &format!("hostile requests: most memory above the rest ({})", most.1),
        format!("{:.0} MiB", most.0),
        format!("< {MOST:.0} MiB"),
        most.0 < MOST,
    );
    Ok(())
}

fn requests() -> anyhow::Result<Vec<(&'static str, &'static str, Vec<u8>)>> {
    let mib = 1 << 20;
    let nested = |length: usize| [vec![b'['; length], vec![b']'; length]].concat();
    let list = |item: &str, length: usize| format!("[{}{item}]", format!("{item},").repeat(length / (item.len() + 1)));
    Ok(vec![
        ("deeply nested JSON", "pairings/preview", nested(mib)),
        (
            "an array of 2 million numbers",
            "generations",
            format!("{{\"graph_ids\":{}}}", list("1", 4 * mib - 100)).into(),
        ),
        ("an array of empty objects", "graphs/bulk", format!("{{\"graph_ids\":{}}}", list("{}", 4 * mib - 100)).into()),
        ("a body over the limit", "jobs", vec![b' '; 64 * mib]),
        ("a file of one record of 600 MiB", "imports", [b"[{\"img_id\":\"".to_vec(), vec![b'a'; 600 * mib]].concat()),
        ("a file of one line of 600 MiB", "imports", vec![b'7'; 600 * mib]),
        ("a deeply nested file", "imports", nested(100 * mib)),
        ("2 GiB of spaces in 2 MiB of gzip", "imports", bomb(b' ', 2048)?),
        ("2 GiB of one string in 2 MiB of gzip", "imports", bomb(b'a', 2048)?),
        ("a gzip bomb of graphs", "imports?format=visual-genome", bomb(b'[', 2048)?),
        ("a gzip bomb of captions", "imports?format=prompts", bomb(b'a', 2048)?),
        ("a gzip bomb of pictures", "imports?format=images", bomb(0, 2048)?),
        ("a bomb called parquet", "imports?format=pick-a-pic", parquet_bomb()),
        ("a gzip bomb of scores", "imports?format=scores", bomb(b'{', 2048)?),
    ])
}

/// So many MiB of one byte, after what begins a record.
fn bomb(byte: u8, mib: usize) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(b"[{\"img_id\":\"")?;
    let chunk = vec![byte; 1 << 20];
    for _ in 0..mib {
        encoder.write_all(&chunk)?;
    }
    Ok(encoder.finish()?)
}

/// The frame of a parquet file whose footer claims to have 4 GiB.
fn parquet_bomb() -> Vec<u8> {
    [b"PAR1".as_slice(), &[0xff; 4096], &u32::MAX.to_le_bytes(), b"PAR1"].concat()
}
