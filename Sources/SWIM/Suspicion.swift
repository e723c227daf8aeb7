import Primitives

/// A suspicion that runs: Lifeguard's dynamic timeout. It starts long and gets shorter with every other member that
/// has failed to reach the suspect too, along a logarithm: the first confirmations say the most.
struct Suspicion: Equatable, Sendable {
    let node: NodeID
    /// The members that accuse it, the first accuser included.
    private(set) var accusers: [NodeID]
    /// Confirmations besides the first accuser's that make the suspicion as short as it gets.
    let confirmations: Int
    private(set) var startedAt: Instant
    private let least: Interval
    private let most: Interval
    /// Not down before this, however many confirm.
    private(set) var notBefore: Instant
    private(set) var deadline: Instant

    /// `firstMissed` is the begin of the probe that failed, or now when another member's probe did; `members` are the
    /// live ones, with the suspect and this node.
    init(
        _ accusation: Accusation,
        firstMissed: Instant,
        now: Instant,
        members: Int,
        settings: SWIMSettings
    ) {
        node = accusation.node
        accusers = [accusation.from]
        // A small cluster does not have the members to confirm.
        let wanted = settings.suspicionMultiplier - 2
        confirmations = members - 2 < wanted ? 0 : max(0, wanted)
        least = Suspicion.least(members: members, settings: settings)
        most = least * UInt64(settings.suspicionMaxFactor)
        startedAt = now
        notBefore = settings.downAfter.map { firstMissed + $0 } ?? .zero
        deadline = now
        updateDeadline()
    }

    /// False when nothing changes: enough have confirmed, or `accuser` has before.
    mutating func confirm(by accuser: NodeID) -> Bool {
        guard accusers.count <= confirmations, !accusers.contains(accuser) else { return false }
        accusers.append(accuser)
        updateDeadline()
        return true
    }

    /// The own process did not run for `pause`: that time does not count.
    mutating func shift(by pause: Interval) {
        startedAt = startedAt + pause
        notBefore = notBefore + pause
        deadline = deadline + pause
    }

    private mutating func updateDeadline() {
        var timeout = least
        if confirmations > 0 {
            let share = binaryLogarithm(accusers.count) / binaryLogarithm(confirmations + 1)
            let saved = Double(most.nanoseconds - least.nanoseconds) * min(share, 1)
            timeout = Interval(nanoseconds: most.nanoseconds - UInt64(saved))
        }
        deadline = max(startedAt + timeout, notBefore)
    }

    static func least(members: Int, settings: SWIMSettings) -> Interval {
        let scale = max(1, binaryLogarithm(max(members, 1)) / binaryLogarithm(10))
        return Interval(
            nanoseconds: UInt64(
                Double(settings.suspicionMultiplier) * scale * Double(settings.probeInterval.nanoseconds)
            )
        )
    }
}

/// The binary logarithm of a whole number from 1, without a C library: the exponent, and the series of the area
/// hyperbolic tangent for the significand, which is below 2, so that 13 terms give all the digits that matter.
func binaryLogarithm(_ value: Int) -> Double {
    let number = Double(value)
    let z = (number.significand - 1) / (number.significand + 1)
    var power = z
    var sum = 0.0
    for divisor in stride(from: 1.0, through: 25.0, by: 2.0) {
        sum += power / divisor
        power *= z * z
    }
    return Double(number.exponent) + 2 * sum / 0.693_147_180_559_945_3
}
