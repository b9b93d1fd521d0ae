//! Ids: UUIDv7, so that a primary key also sorts by time of creation. Seeds are in `candidate`.

use uuid::Uuid;

/// A new UUIDv7. Ids made later in this process compare greater.
pub fn new() -> Uuid {
    Uuid::now_v7()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let ids: Vec<Uuid> = (0..1000).map(|_| new()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
