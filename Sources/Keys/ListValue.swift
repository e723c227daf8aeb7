import DequeModule
import Primitives

/// A list.
package struct ListValue: ContainerValue {
    private(set) var elements: Deque<[UInt8]> = []
    /// Bytes of all elements.
    private(set) var payload = 0

    package init(seed: UInt64) {}

    package var isEmpty: Bool { elements.isEmpty }
    package static func unwrap(_ value: Value) -> ListValue? { if case .list(let held) = value { held } else { nil } }
    package var wrapped: Value { .list(self) }

    package var count: Int { elements.count }
    /// About the memory that the list takes: an element is an array, which has a header.
    package var byteEstimate: Int { payload + elements.count * 40 + 64 }

    /// `OBJECT ENCODING`'s word, as in Redis 7.2. Vencejo has one representation.
    package func encoding(_ configuration: KeyspaceConfiguration) -> String {
        let bound = configuration.listMaxListpackSize
        if bound >= 0 { return elements.count <= bound ? "listpack" : "quicklist" }
        return payload + 2 * elements.count <= 2048 << min(-bound, 5) ? "listpack" : "quicklist"
    }

    enum End: Sendable {
        case head
        case tail

        var pushEvent: String { self == .head ? "lpush" : "rpush" }
        var popEvent: String { self == .head ? "lpop" : "rpop" }
    }

    subscript(_ index: Int) -> [UInt8] { elements[index] }

    /// The place that a client's index means: from the end when it is negative; nil outside of the list.
    func place(of index: Int64) -> Int? {
        let place = index < 0 ? Int64(count) &+ index : index
        return place >= 0 && place < Int64(count) ? Int(place) : nil
    }

    /// The places from `start` to `stop`, both included and as clients give them.
    func range(_ start: Int64, _ stop: Int64) -> Range<Int> {
        let length = Int64(count)
        let first = max(0, start < 0 ? length &+ start : start)
        let last = min(length - 1, stop < 0 ? length &+ stop : stop)
        return first <= last ? Int(first)..<(Int(last) + 1) : 0..<0
    }

    // MARK: Change

    mutating func push(_ element: [UInt8], _ end: End) {
        payload += element.count
        switch end {
        case .head: elements.prepend(element)
        case .tail: elements.append(element)
        }
    }

    mutating func pop(_ end: End) -> [UInt8]? {
        let element = end == .head ? elements.popFirst() : elements.popLast()
        payload -= element?.count ?? 0
        return element
    }

    /// Takes `amount` elements away, which must be there.
    mutating func drop(_ amount: Int, _ end: End) {
        switch end {
        case .head:
            for element in elements.prefix(amount) { payload -= element.count }
            elements.removeFirst(amount)
        case .tail:
            for element in elements.suffix(amount) { payload -= element.count }
            elements.removeLast(amount)
        }
    }

    mutating func replace(at place: Int, with element: [UInt8]) {
        payload += element.count - elements[place].count
        elements[place] = element
    }

    mutating func insert(_ element: [UInt8], at place: Int) {
        payload += element.count
        elements.insert(element, at: place)
    }

    /// Removes the first `limit` elements that equal `element`, the last ones from the tail; returns how many.
    mutating func removeAll(_ element: [UInt8], limit: Int, from end: End) -> Int {
        // Queues take one element out, near the end that they ask for: the rest is not looked at.
        var places: [Int] = []
        switch end {
        case .head:
            for place in 0..<count where elements[place] == element {
                places.append(place)
                if places.count == limit { break }
            }
        case .tail:
            for place in stride(from: count - 1, through: 0, by: -1) where elements[place] == element {
                places.append(place)
                if places.count == limit { break }
            }
            places.reverse()
        }
        guard let first = places.first else { return 0 }
        payload -= places.count * element.count
        if places.count == 1 {
            elements.remove(at: first)
            return 1
        }
        var kept = first
        var following = 0
        for place in first..<count {
            if following < places.count, places[following] == place {
                following += 1
            } else {
                elements.swapAt(kept, place)
                kept += 1
            }
        }
        elements.removeLast(places.count)
        return places.count
    }

    // MARK: Snapshots

    package func encode(into writer: inout ByteWriter) {
        writer.writeVarint(UInt64(elements.count))
        for element in elements { writer.writeBytes(element) }
    }

    package init(from reader: inout ByteReader) throws(DecodeError) {
        // An element takes a byte at least.
        let count = try reader.readCount(limit: reader.remaining, "list")
        elements.reserveCapacity(count)
        for _ in 0..<count { push(try reader.readBytes(limit: reader.remaining, "list element"), .tail) }
    }
}
