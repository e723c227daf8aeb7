import Primitives

/// Timers and bounds of the gossip. The first group are memberlist's parameters for a local network with a shorter
/// probe interval (https://github.com/hashicorp/memberlist, `config.go`).
package struct SWIMSettings: Equatable, Sendable {
    /// SWIM's protocol period: one member is probed each. Times `healthScore + 1`.
    package var probeInterval = Interval.milliseconds(500)
    /// How long a direct ping may take before others are asked. Times `healthScore + 1`.
    package var pingTimeout = Interval.milliseconds(200)
    /// Members that are asked to ping a member that does not answer.
    package var indirectProbes = 3
    /// The least suspicion lasts `suspicionMultiplier * max(1, log10(members)) * probeInterval`; and
    /// `suspicionMultiplier - 2` members besides the first must confirm it for it to be as short as that.
    package var suspicionMultiplier = 4
    /// An unconfirmed suspicion lasts this many times the least.
    package var suspicionMaxFactor = 6
    /// Lifeguard's local health multiplier stays below or at this; 1 switches it off.
    package var maxHealthMultiplier = 8
    package var gossipInterval = Interval.milliseconds(200)
    /// Members that get what is new, each `gossipInterval`.
    package var gossipNodes = 3
    /// A message is sent `retransmitMultiplier * ceil(log10(members + 1))` times by each node.
    package var retransmitMultiplier = 4
    /// The whole state is exchanged with a random member; twice as rarely from 33 members on, three times from 65 on.
    package var pushPullInterval = Interval.seconds(30)

    /// The least time from the first missed probe to `down`, whatever the confirmations (Sentinel's
    /// `down-after-milliseconds`); nil leaves it to the suspicion alone.
    package var downAfter: Interval? = Interval.milliseconds(5000)
    /// A tick that comes later than this after its deadline shows that the own process did not run: nobody is blamed
    /// for that time, and the own health gets worse.
    package var maxTickDelay = Interval.milliseconds(100)
    /// A down member goes on getting gossip for this long, so that it can refute.
    package var gossipToTheDead = Interval.seconds(30)
    /// A down member, or a seed that has not answered yet, is tried again: one of them by one node of the cluster, on
    /// average. This is how the sides of a healed partition find each other.
    package var reconnectInterval = Interval.seconds(5)
    /// The first pause before the seeds are tried again while no other member is known; doubles up to
    /// `reconnectInterval`.
    package var joinBackoff = Interval.milliseconds(250)
    /// The same conflict is reported again after this.
    package var conflictInterval = Interval.seconds(30)
    /// A node whose list has differed from those of all that it heard from for this long exchanges the state with one
    /// of them; the pause before it does so again doubles up to `pushPullInterval`.
    package var repairInterval = Interval.seconds(1)
    /// A goodbye that cannot be sent often enough ends after this.
    package var leaveTimeout = Interval.seconds(5)

    /// Bytes of a datagram before encryption: fits into an Ethernet frame with IPv6, the label and AES-GCM's overhead.
    package var maxPacketBytes = 1400
    /// Live members, this node included; more are refused.
    package var maxMembers = 1024
    /// Down and left members that are remembered; the oldest are forgotten first.
    package var maxDeadMembers = 256
    /// Down and left members are forgotten after this.
    package var deadRetention = Interval.seconds(24 * 3600)
    /// Seeds that are remembered.
    package var maxSeeds = 64
    /// Pings for others that are under way; more requests are dropped.
    package var maxRelays = 128
    /// Conflicts that are remembered as reported.
    package var maxConflicts = 64

    package init() {}

    /// Bytes of the longest push-pull that a node with these settings sends or takes.
    package var maxFrameBytes: Int { 64 + (maxMembers + maxDeadMembers) * MemberSnapshot.maxEncodedBytes }

    func check() {
        precondition(pingTimeout > .zero && probeInterval > pingTimeout, "probeInterval must exceed pingTimeout")
        precondition(gossipInterval > .zero && pushPullInterval > .zero && reconnectInterval > .zero, "a zero interval")
        precondition(joinBackoff > .zero && repairInterval > .zero, "a zero interval")
        precondition(suspicionMultiplier > 0 && suspicionMaxFactor > 0 && retransmitMultiplier > 0, "a zero multiplier")
        precondition(maxHealthMultiplier > 0 && indirectProbes >= 0 && gossipNodes > 0, "a zero multiplier")
        precondition(maxPacketBytes >= 1024, "a packet must hold the longest message")
        precondition(
            maxMembers > 0 && maxDeadMembers >= 0 && maxSeeds > 0 && maxRelays > 0 && maxConflicts > 0,
            "bounds"
        )
    }

    /// How often one node sends one message.
    func retransmits(members: Int) -> Int {
        var digits = 0
        var power = 1
        while power < members + 1 {
            power *= 10
            digits += 1
        }
        return retransmitMultiplier * max(1, digits)
    }

    /// The time between two push-pulls.
    func pushPullInterval(members: Int) -> Interval {
        var factor: UInt64 = 1
        var bound = 32
        while members > bound {
            factor += 1
            bound *= 2
        }
        return pushPullInterval * factor
    }
}

/// What a node has counted since it started. Bytes are those before encryption.
package struct SWIMCounters: Equatable, Sendable {
    package var probes: UInt64 = 0
    /// Neither the member, nor anyone asked to ping it, nor a stream answered.
    package var failedProbes: UInt64 = 0
    /// Requests to others to ping a member.
    package var indirectProbes: UInt64 = 0
    /// Pings over a stream, because the datagram was not answered in time.
    package var streamProbes: UInt64 = 0
    /// Of those, the ones that were answered before anything else: datagrams get lost, streams do not.
    package var streamAcks: UInt64 = 0
    /// Pings for others that nobody answered.
    package var nacks: UInt64 = 0
    /// Members that became suspect here, by an own probe or by hearsay.
    package var suspicions: UInt64 = 0
    package var downs: UInt64 = 0
    /// Times this node had to say that it is alive.
    package var refutations: UInt64 = 0
    /// Times the own process did not run for longer than `maxTickDelay`.
    package var pauses: UInt64 = 0
    package var conflicts: UInt64 = 0
    package var packetsOut: UInt64 = 0
    package var packetBytesOut: UInt64 = 0
    package var packetsIn: UInt64 = 0
    package var packetBytesIn: UInt64 = 0
    package var framesOut: UInt64 = 0
    package var frameBytesOut: UInt64 = 0
    package var framesIn: UInt64 = 0
    package var frameBytesIn: UInt64 = 0
    /// Exchanges of the whole state that this node began.
    package var pushPulls: UInt64 = 0
    /// Of those, the ones because the lists differed.
    package var repairs: UInt64 = 0
    package var streamFailures: UInt64 = 0
    package var decodeErrors: UInt64 = 0
    /// Packets and frames of another version of the protocol.
    package var unknownVersions: UInt64 = 0
    /// Pings for another node that used to have this address, and requests that cannot be answered.
    package var misdirected: UInt64 = 0
    /// Members, seeds, requests and packets beyond a bound of the settings.
    package var droppedForBounds: UInt64 = 0

    package init() {}
}
