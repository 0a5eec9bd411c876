//! The settings of a cluster of one: no replication, no authentication inside, nothing but loopback.

use std::fmt;

use super::tls::{CERTIFICATE, KEY};

/// The size of the file that the objects are in; it takes what is written and no more.
const STORE_BYTES: u64 = 16 << 30;

/// What differs from cluster to cluster.
#[derive(Debug)]
pub(super) struct Conf {
    pub(super) fsid: String,
    /// The directory of the state, seen from inside the root.
    pub(super) state: String,
    pub(super) monitor_port: u16,
    pub(super) port: u16,
    pub(super) tls_port: u16,
}

impl fmt::Display for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fsid,
            state,
            monitor_port,
            port,
            tls_port,
        } = self;
        write!(
            f,
            "\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor_port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
auth cluster required = none
auth service required = none
auth client required = none
run dir = {state}/run
admin socket =
pid file =
log file = {state}/log/$name.log
crash dir = {state}/crash
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon allow pool delete = true
mon max pg per osd = 1000
mon warn on pool no redundancy = false
heartbeat file =
ms type = async+posix
ms async op threads = 2

[mon]
mon data = {state}/mon
mon initial members = a
mon data avail crit = 1
mon data avail warn = 2
mon cluster log file = {state}/log/cluster.log
# The gateway makes its pools one by one when it first starts; by default each waits for a second.
paxos propose interval = 0.05
paxos min wait = 0.02
mon osd down out interval = 0

[osd]
osd data = {state}/osd
osd objectstore = bluestore
osd crush update on start = false
osd class update on start = false
osd memory target = 1073741824
osd max object name len = 2048
osd op num shards = 2
osd mclock force run benchmark on init = false
bluestore block path =
bluestore block create = true
bluestore block size = {STORE_BYTES}
bluestore block db create = false
bluestore block wal create = false
bluestore fsck on mount = false

[client]
keyring = /dev/null
log file = {state}/log/$name.$pid.log

[client.rgw]
log file = {state}/log/rgw.log
rgw frontends = beast endpoint=127.0.0.1:{port} ssl_endpoint=127.0.0.1:{tls_port} \
ssl_certificate={state}/{CERTIFICATE} ssl_private_key={state}/{KEY}
# Without keys there is no secure mode.
ms mon client mode = crc
rgw dns name = localhost
rgw thread pool size = 64
rgw enable usage log = false
rgw run sync thread = false
rgw enable gc threads = false
rgw enable lc threads = false
rgw crypt require ssl = false
# For SSE-KMS in tests: no secret.
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = testkey-1=YmluCmJvb3N0CmJvb3N0LWJ1aWxkCmNlcGguY29uZgo=
"
        )
    }
}
