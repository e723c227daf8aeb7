import Primitives

/// A consumer group: how far it has read, and what its consumers have not acknowledged.
struct StreamGroup: Sendable {
    /// A delivery that was not acknowledged.
    struct Delivery: Sendable {
        /// Who has it: a place in `consumers`.
        var consumer: Int
        /// When it was last delivered, milliseconds since 1970.
        var time: Int64
        /// How often.
        var count: Int64
    }

    struct Consumer: Sendable {
        let name: [UInt8]
        /// When it last tried something, and when it last got something (-1: never); milliseconds since 1970.
        var seenTime: Int64
        var activeTime: Int64 = -1
        /// IDs of what it has; the deliveries are the group's.
        var pending = PendingTable<Mine>()
    }

    /// A consumer's row: the group's has the contents.
    struct Mine: Sendable {}

    let name: [UInt8]
    /// The last entry that was delivered to anybody.
    var lastID: StreamID
    /// How many entries of the stream, counted from the first ever, `lastID` is at; nil: not known.
    var entriesRead: Int64?
    private(set) var pending = PendingTable<Delivery>()
    /// At stable places; a place whose consumer is gone is used again.
    private(set) var consumers: [Consumer?] = []
    private var free: [Int] = []
    /// Places of the consumers, by name.
    private(set) var order: [Int] = []

    init(name: [UInt8], lastID: StreamID, entriesRead: Int64?) {
        self.name = name
        self.lastID = lastID
        self.entriesRead = entriesRead
    }

    // MARK: Consumers

    func consumer(at place: Int) -> Consumer {
        guard let consumer = consumers[place] else { preconditionFailure("a delivery to a consumer that is gone") }
        return consumer
    }

    func find(consumer name: [UInt8]) -> Int? {
        let index = orderIndex(name)
        guard index < order.count, consumer(at: order[index]).name == name else { return nil }
        return order[index]
    }

    private func orderIndex(_ name: [UInt8]) -> Int {
        var low = 0
        var high = order.count
        while low < high {
            let middle = (low + high) / 2
            let isBefore = consumer(at: order[middle]).name.lexicographicallyPrecedes(name)
            if isBefore { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Adds a consumer who is not there.
    mutating func add(_ consumer: Consumer) -> Int {
        let place = free.popLast() ?? consumers.count
        if place == consumers.count { consumers.append(nil) }
        order.insert(place, at: orderIndex(consumer.name))
        consumers[place] = consumer
        return place
    }

    mutating func noteSeen(_ place: Int, _ now: Int64) { consumers[place]?.seenTime = now }
    mutating func noteActive(_ place: Int, _ now: Int64) { consumers[place]?.activeTime = now }

    /// Removes a consumer and what it has; returns how many that were.
    mutating func remove(consumer name: [UInt8]) -> Int {
        guard let place = find(consumer: name) else { return 0 }
        let mine = consumer(at: place).pending
        mine.forEach { element in
            pending.remove(element.id)
            return true
        }
        order.remove(at: orderIndex(name))
        consumers[place] = nil
        free.append(place)
        return mine.count
    }

    // MARK: Deliveries

    /// Puts an entry into the hands of a consumer, whoever had it.
    mutating func assign(_ id: StreamID, _ delivery: Delivery) {
        if !pending.insert(id, delivery), let place = pending.find(id) {
            let former = pending[row: place].consumer
            pending[row: place] = delivery
            if former == delivery.consumer { return }
            consumers[former]?.pending.remove(id)
        }
        consumers[delivery.consumer]?.pending.insert(id, Mine())
    }

    /// Sets when and how often an entry was delivered to who has it.
    mutating func setDelivery(_ place: PendingTable<Delivery>.Place, time: Int64, count: Int64) {
        pending[row: place].time = time
        pending[row: place].count = count
    }

    /// An entry is nobody's any more; false when it was nobody's before.
    @discardableResult
    mutating func acknowledge(_ id: StreamID) -> Bool {
        guard let delivery = pending.remove(id) else { return false }
        consumers[delivery.consumer]?.pending.remove(id)
        return true
    }

    /// Approximate memory.
    var byteEstimate: Int {
        // A delivery has 40 bytes here and 16 at its consumer; a consumer some arrays.
        160 + name.count + pending.count * 60 + order.count * 200
    }
}
