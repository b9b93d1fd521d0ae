//! Blobs: content-addressed, durable, checked on reading.

use builder::Error;
use builder::blob::{BlobStore, hash};

#[tokio::test]
async fn what_is_put_is_got_and_damage_is_noticed() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let blobs = BlobStore::local(folder.path())?;
    let key = blobs.put(b"abc".to_vec()).await?;
    // echo -n abc | sha256sum
    assert_eq!(key, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(blobs.put(b"abc".to_vec()).await?, key);
    assert_eq!(&blobs.get(&key).await?[..], b"abc");
    assert!(blobs.exists(&key).await?);
    assert_eq!(blobs.keys().await?, std::slice::from_ref(&key));
    assert!(matches!(blobs.get(&hash(b"other")).await, Err(Error::NotFound { .. })));
    assert!(matches!(blobs.get("../../etc/passwd").await, Err(Error::Invalid(_))));

    fs_err::write(folder.path().join(&key[..2]).join(&key), "abd")?;
    assert!(matches!(blobs.get(&key).await, Err(Error::BlobDamaged { .. })));
    blobs.delete(&key).await?;
    blobs.delete(&key).await?;
    assert!(!blobs.exists(&key).await?);
    Ok(())
}

#[tokio::test]
async fn many_writers_of_the_same_blob_agree() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let blobs = BlobStore::open(&format!("file://{}", folder.path().display()))?;
    let content = vec![7_u8; 1 << 16];
    let writes = (0..16).map(|_| blobs.put(content.clone()));
    for key in futures::future::join_all(writes).await {
        assert_eq!(key?, hash(&content));
    }
    assert_eq!(blobs.keys().await?.len(), 1);
    Ok(())
}
