//! A broker inside the process, for the demo.

use std::fmt;

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use crate::fault::Fault;

/// librdkafka's mock cluster: one broker on a port of the loopback interface, alive as long as this value.
///
/// It keeps about the last 5 MB or 100,000 records of a partition, whichever is less, and forgets older ones whether they were
/// read or not. It knows no fencing, no deletion, no access control, and no topics that are created later: it shows how things look, and judges nothing.
pub struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Mock {
    /// Records of a partition that are surely kept, if they take no more than 5 MB.
    pub const KEPT_RECORDS: u64 = 100_000;
    /// Bytes of a partition that are surely kept.
    pub const KEPT_BYTES: u64 = 5_000_000;

    /// Starts a broker with one topic.
    ///
    /// # Errors
    /// No port can be opened.
    pub fn start(topic: &str, partitions: usize) -> Result<Self, Fault> {
        let failed = |error| Fault::outside("start the broker inside the process").caused_by(error);
        let partitions = i32::try_from(partitions)
            .map_err(|_| Fault::config(format!("{partitions} partitions are too many")))?;
        let cluster = MockCluster::new(1).map_err(failed)?;
        cluster.create_topic(topic, partitions, 1).map_err(failed)?;
        Ok(Self { cluster })
    }

    /// Its `host:port`.
    pub fn brokers(&self) -> Vec<String> {
        self.cluster.bootstrap_servers().split(',').map(str::to_owned).collect()
    }
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock").field("brokers", &self.brokers()).finish_non_exhaustive()
    }
}
