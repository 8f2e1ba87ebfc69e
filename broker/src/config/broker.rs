//! The broker's own settings. Topics' defaults, which a topic may overrule, are in [`super::topic`].

use crate::net::Secret;

use super::key::{Kind, keys};

/// Protocols that `ssl.enabled.protocols` may name. Kafka 4 has the same two.
const TLS_PROTOCOLS: &[&str] = &["TLSv1.2", "TLSv1.3"];

keys! {
    /// The broker's settings as they are in force.
    pub struct BrokerSettings, table BROKER_KEYS {
        /// The number of this broker in its cluster; no two brokers have the same.
        broker_id: i32 = "broker.id", Kind::COUNT, Some("1");
        /// The folders in which topics are kept, each on a disk of its own: one that fails takes its partitions with it and no others.
        log_dirs: Option<Vec<String>> = "log.dirs", Kind::List, None;
        /// The folder in which topics are kept, if log.dirs does not say.
        log_dir: Option<String> = "log.dir", Kind::String, None;

        /// The highest feature level that this broker works at. Lower than it could, it can join a cluster as a broker of an older version does; a new cluster begins at the level of its first controller.
        feature_level_max: i32 = "sluice.feature.level.max", Kind::Int { min: 1, max: 2 }, Some("2");
        /// Where the broker is: a rack, a room, a zone. Replicas of a partition are spread over racks.
        broker_rack: Option<String> = "broker.rack", Kind::String, None;
        /// Where the broker listens: NAME://HOST:PORT, with commas between them. Without a host: every interface. Port 0: any free port.
        /// By default clients and, where a truststore says which of them are believed, other brokers.
        listeners: Vec<String> = "listeners", Kind::List, Some("SSL://:9093,INTERNAL://:9094");
        /// What clients are told to connect to, where that differs from listeners: a name seen from outside, say.
        advertised_listeners: Option<Vec<String>> = "advertised.listeners", Kind::List, None;
        /// Which listener name has which security protocol: SSL, or PLAINTEXT for no TLS at all.
        listener_security_protocol_map: Vec<String> = "listener.security.protocol.map", Kind::List, Some("SSL:SSL,PLAINTEXT:PLAINTEXT,INTERNAL:SSL");
        /// The listener by which other brokers come, over TLS and with a certificate. Clients are not told of it. A broker without it is alone in its cluster.
        inter_broker_listener_name: String = "inter.broker.listener.name", Kind::String, Some("INTERNAL");
        /// The distinguished names that the certificates of brokers have, with semicolons between them. By default the one that this broker's own has.
        broker_principals: Option<String> = "sluice.broker.principals", Kind::String, None;
        /// How a broker that is called is checked to be who it should: https, its certificate names the host; empty, any host's will do.
        ssl_endpoint_identification_algorithm: String = "ssl.endpoint.identification.algorithm", Kind::OneOf(&["https", ""]), Some("https");
        /// How long connecting to another broker may take, TLS and the first words included, in milliseconds.
        socket_connection_setup_timeout_ms: i64 = "socket.connection.setup.timeout.ms", Kind::LONG_POSITIVE, Some("10000");
        /// The format of the broker's key and certificates.
        ssl_keystore_type: String = "ssl.keystore.type", Kind::OneOf(&["PEM"]), Some("PEM");
        /// A PEM file with the broker's private key and its certificate chain, the broker's own certificate first.
        ssl_keystore_location: Option<String> = "ssl.keystore.location", Kind::String, None;
        /// The broker's private key as PEM text, instead of ssl.keystore.location.
        ssl_keystore_key: Option<Secret> = "ssl.keystore.key", Kind::Password, None;
        /// The broker's certificate chain as PEM text, with ssl.keystore.key.
        ssl_keystore_certificate_chain: Option<String> = "ssl.keystore.certificate.chain", Kind::String, None;
        /// The format of the authorities' certificates.
        ssl_truststore_type: String = "ssl.truststore.type", Kind::OneOf(&["PEM"]), Some("PEM");
        /// A PEM file with the certificates of the authorities whose clients are believed.
        ssl_truststore_location: Option<String> = "ssl.truststore.location", Kind::String, None;
        /// The authorities' certificates as PEM text, instead of ssl.truststore.location.
        ssl_truststore_certificates: Option<String> = "ssl.truststore.certificates", Kind::String, None;
        /// Whether clients have to show a certificate.
        ssl_client_auth: String = "ssl.client.auth", Kind::OneOf(&["none", "requested", "required"]), Some("none");
        /// The versions of TLS that are spoken.
        ssl_enabled_protocols: Vec<String> = "ssl.enabled.protocols", Kind::SomeOf(TLS_PROTOCOLS), Some("TLSv1.2,TLSv1.3");

        /// The longest request in bytes; one that announces more is not read and its connection is closed.
        socket_request_max_bytes: usize = "socket.request.max.bytes", Kind::POSITIVE, Some("104857600");
        /// Connections in all. At the limit the next one waits until somebody leaves. Each takes a file descriptor and, while it is idle, about 20 KiB.
        max_connections: usize = "max.connections", Kind::POSITIVE, Some("10000");
        /// Connections from one address. One more is closed at once.
        max_connections_per_ip: usize = "max.connections.per.ip", Kind::POSITIVE, Some("2147483647");
        /// How long a connection may neither send nor take a byte, in milliseconds.
        connections_max_idle_ms: i64 = "connections.max.idle.ms", Kind::LONG_POSITIVE, Some("600000");
        /// How long a TLS handshake may take, in milliseconds.
        handshake_timeout_ms: i64 = "sluice.handshake.timeout.ms", Kind::LONG_POSITIVE, Some("10000");
        /// How long a request may take to arrive while other connections wait for memory, in milliseconds.
        frame_timeout_ms: i64 = "sluice.frame.timeout.ms", Kind::LONG_POSITIVE, Some("10000");
        /// Bytes of one connection's requests that await their answers; beyond this its next request is not read.
        inflight_bytes_max: usize = "sluice.inflight.bytes.max", Kind::LONG_POSITIVE, Some("33554432");
        /// Memory in bytes for requests that are being read, over all connections. When it is spent, reading pauses. One request may exceed it.
        network_memory_bytes_max: usize = "sluice.network.memory.bytes.max", Kind::Long { min: 1 << 20, max: i64::MAX }, Some("268435456");
        /// How long requests in flight may take when the broker shuts down, in milliseconds.
        shutdown_grace_ms: i64 = "sluice.shutdown.grace.ms", Kind::LONG_COUNT, Some("10000");

        /// ZooKeeper servers: HOST:PORT with commas between them, and a path at the end if others use the same servers.
        zookeeper_connect: Option<String> = "zookeeper.connect", Kind::String, None;
        /// After so many milliseconds without this broker, ZooKeeper takes it for dead. A broker that falls silent is replaced only then; one whose process is gone is replaced at once.
        zookeeper_session_timeout_ms: i32 = "zookeeper.session.timeout.ms", Kind::Int { min: 1000, max: i32::MAX }, Some("9000");
        /// How long a starting broker waits for ZooKeeper before it gives up, in milliseconds.
        zookeeper_connection_timeout_ms: i32 = "zookeeper.connection.timeout.ms", Kind::POSITIVE, Some("18000");

        /// Whether ZooKeeper is spoken to over TLS.
        zookeeper_ssl_client_enable: bool = "zookeeper.ssl.client.enable", Kind::Boolean, Some("false");
        /// A PEM file with the certificates of the authorities whose ZooKeeper servers are believed.
        zookeeper_ssl_truststore_location: Option<String> = "zookeeper.ssl.truststore.location", Kind::String, None;
        /// The format of those certificates.
        zookeeper_ssl_truststore_type: String = "zookeeper.ssl.truststore.type", Kind::OneOf(&["PEM"]), Some("PEM");
        /// A PEM file with the certificate chain and key that the broker shows ZooKeeper.
        zookeeper_ssl_keystore_location: Option<String> = "zookeeper.ssl.keystore.location", Kind::String, None;
        /// The format of that file.
        zookeeper_ssl_keystore_type: String = "zookeeper.ssl.keystore.type", Kind::OneOf(&["PEM"]), Some("PEM");
        /// Whether what the broker keeps in ZooKeeper can be touched only by who is authenticated as it is.
        zookeeper_set_acl: bool = "zookeeper.set.acl", Kind::Boolean, Some("false");

        /// Partitions of a topic that is created without saying how many.
        num_partitions: i32 = "num.partitions", Kind::POSITIVE, Some("1");
        /// Replicas of a topic that is created without saying how many.
        default_replication_factor: i32 = "default.replication.factor", Kind::Int { min: 1, max: 32_767 }, Some("1");
        /// Whether a topic is created when a client asks for it and allows that.
        auto_create_topics_enable: bool = "auto.create.topics.enable", Kind::Boolean, Some("true");
        /// How often retention is looked after, in milliseconds.
        log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms", Kind::LONG_POSITIVE, Some("300000");
        /// After so many milliseconds without a batch an idempotent producer's sequence is forgotten.
        producer_id_expiration_ms: i32 = "producer.id.expiration.ms", Kind::POSITIVE, Some("86400000");
        /// How long a replica may be behind its leader and stay in sync, in milliseconds.
        replica_lag_time_max_ms: i64 = "replica.lag.time.max.ms", Kind::LONG_POSITIVE, Some("30000");
        /// How long a follower's fetch waits at its leader when there is nothing new, in milliseconds.
        replica_fetch_wait_max_ms: i32 = "replica.fetch.wait.max.ms", Kind::POSITIVE, Some("500");
        /// The most bytes a follower fetches of one partition at a time; a first batch that is larger comes whole.
        replica_fetch_max_bytes: i32 = "replica.fetch.max.bytes", Kind::POSITIVE, Some("1048576");
        /// The most bytes a follower fetches of all partitions at a time.
        replica_fetch_response_max_bytes: i32 = "replica.fetch.response.max.bytes", Kind::POSITIVE, Some("10485760");
        /// How long a follower waits for its leader's answer beyond the fetch's own wait, in milliseconds.
        replica_socket_timeout_ms: i32 = "replica.socket.timeout.ms", Kind::POSITIVE, Some("30000");
        /// The most bytes of records in one fetch answer, whatever the client asks for; a first batch that is larger is sent whole.
        fetch_max_bytes: i32 = "fetch.max.bytes", Kind::Int { min: 1024, max: i32::MAX }, Some("57671680");

        /// Bytes a second that this broker sends to followers out of sync, of the replicas that topics name in leader.replication.throttled.replicas.
        leader_throttled_rate: i64 = "leader.replication.throttled.rate", Kind::LONG_POSITIVE, Some("9223372036854775807");
        /// Bytes a second that this broker fetches while it is out of sync, of the replicas that topics name in follower.replication.throttled.replicas.
        follower_throttled_rate: i64 = "follower.replication.throttled.rate", Kind::LONG_POSITIVE, Some("9223372036854775807");

        /// Whether the controller evens what brokers carry without being asked, once they are more than a tenth apart.
        balancer_enable: bool = "sluice.balancer.enable", Kind::Boolean, Some("false");

        /// Whether the controller has leaders go back to the first replicas of their partitions, where these are in sync again.
        auto_leader_rebalance_enable: bool = "auto.leader.rebalance.enable", Kind::Boolean, Some("true");
        /// How often the controller looks whether they should, in seconds.
        leader_imbalance_check_interval_seconds: i64 = "leader.imbalance.check.interval.seconds", Kind::Long { min: 1, max: 1 << 31 }, Some("300");
        /// The share of the partitions that a broker should lead and doesn't, in percent, up to which nothing is done.
        leader_imbalance_per_broker_percentage: i32 = "leader.imbalance.per.broker.percentage", Kind::Int { min: 0, max: 100 }, Some("10");

        /// Where the admin API listens: https://HOST:PORT. Port 0: any free port.
        admin_listener: String = "sluice.admin.listener", Kind::String, Some("https://127.0.0.1:9643");
        /// Threads that run plugins; 0: as many as processors.
        plugin_threads: usize = "sluice.plugin.threads", Kind::Int { min: 0, max: 1024 }, Some("0");
        /// Batches that wait for a plugin thread; beyond this producers are told to come again.
        plugin_queue_max: usize = "sluice.plugin.queue.max", Kind::POSITIVE, Some("1024");
        /// How long a plugin may take to compile, in milliseconds.
        plugin_compile_timeout_ms: i64 = "sluice.plugin.compile.timeout.ms", Kind::LONG_POSITIVE, Some("60000");
        /// The memory in bytes that compiling a plugin may take.
        plugin_compile_memory_bytes_max: i64 = "sluice.plugin.compile.memory.bytes.max", Kind::Long { min: 64 << 20, max: i64::MAX }, Some("2147483648");
    }
}
