import Glibc
import Primitives

extension SimulatedDisk.Change {
    func apply(to content: inout [UInt8]) {
        switch self {
        case .write(_, let bytes) where bytes.isEmpty: break
        case .write(let offset, let bytes):
            if content.count < offset + bytes.count {
                content += [UInt8](repeating: 0, count: offset + bytes.count - content.count)
            }
            content.withUnsafeMutableBytes { target in
                UnsafeMutableRawBufferPointer(rebasing: target[offset...]).copyBytes(from: bytes)
            }
        case .length(let length):
            if length < content.count {
                content.removeLast(content.count - length)
            } else {
                content += [UInt8](repeating: 0, count: length - content.count)
            }
        }
    }
}

extension SimulatedDisk.Contents {
    static func split(_ path: String) -> (folder: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return ("", path) }
        return (String(path[..<slash]), String(path[path.index(after: slash)...]))
    }

    func node(_ path: String) -> Int? {
        let (folder, name) = Self.split(path)
        return folders[folder]?.names[name].flatMap { $0 == 0 ? nil : $0 }
    }

    func isVisible(_ path: String) -> Bool {
        if path.isEmpty { return true }
        let (parent, name) = Self.split(path)
        return folders[path] != nil && folders[parent]?.names[name] == 0 && isVisible(parent)
    }

    /// Counts an operation; an error code when the power is off.
    mutating func begin() -> Int32? {
        if let limit = faults.powerOffAt, operations >= limit { return EIO }
        operations += 1
        return nil
    }

    mutating func syncFails() -> Bool {
        guard let left = faults.failSyncAfter else { return false }
        faults.failSyncAfter = left == 0 ? nil : left - 1
        return left == 0
    }

    mutating func reserve(_ bytes: Int) -> Bool {
        if let capacity = faults.capacity, used + bytes > capacity { return false }
        used += bytes
        return true
    }

    mutating func unlink(_ node: Int) {
        guard node != 0, let found = nodes[node] else { return }
        nodes[node]!.links -= 1
        if found.links == 1 { used -= found.content.count }
    }

    mutating func crash(_ survival: SimulatedDisk.Survival) {
        var chance: Xoshiro256
        switch survival {
        case .nothing, .everything: chance = Xoshiro256(seed: 0)
        case .prefix(let seed), .anySectors(let seed): chance = Xoshiro256(seed: seed)
        }
        // Sorted, because chance must fall the same way in every run.
        for node in nodes.keys.sorted() { crash(node: node, survival, &chance) }
        for path in folders.keys.sorted() { crash(folder: path, survival, &chance) }
        // Directories whose name was lost are gone with all they held.
        var gone = true
        while gone {
            gone = false
            for path in folders.keys where !path.isEmpty && !isVisible(path) {
                folders[path] = nil
                gone = true
            }
        }
        var links: [Int: Int] = [:]
        for folder in folders.values {
            for node in folder.names.values where node != 0 { links[node, default: 0] += 1 }
        }
        for node in nodes.keys { nodes[node]!.links = links[node] ?? 0 }
        nodes = nodes.filter { $0.value.links > 0 }
        used = nodes.values.reduce(0) { $0 + $1.content.count }
        open = [:]
        locked = []
        faults = SimulatedDisk.Faults()
    }

    private mutating func crash(node: Int, _ survival: SimulatedDisk.Survival, _ chance: inout Xoshiro256) {
        var found = nodes[node]!
        var content = found.durable
        switch survival {
        case .nothing: break
        case .everything: content = found.content
        case .prefix:
            let kept = Int(chance.below(UInt64(found.pending.count + 1)))
            for (index, change) in found.pending.enumerated() where index <= kept {
                if index < kept {
                    change.apply(to: &content)
                } else if case .write(let offset, let bytes) = change, !bytes.isEmpty {
                    let torn = Int(chance.below(UInt64(bytes.count)))
                    SimulatedDisk.Change.write(offset: offset, bytes: Array(bytes[..<torn])).apply(to: &content)
                }
            }
        case .anySectors:
            for change in found.pending {
                guard case .write(let offset, let bytes) = change else {
                    if chance.chance(1, in: 2) { change.apply(to: &content) }
                    continue
                }
                var at = 0
                while at < bytes.count {
                    let end = min(bytes.count, ((offset + at) / 512 + 1) * 512 - offset)
                    if chance.chance(1, in: 2) {
                        SimulatedDisk.Change.write(offset: offset + at, bytes: Array(bytes[at..<end])).apply(
                            to: &content
                        )
                    }
                    at = end
                }
            }
        }
        found.content = content
        found.durable = content
        found.pending = []
        nodes[node] = found
    }

    private mutating func crash(folder path: String, _ survival: SimulatedDisk.Survival, _ chance: inout Xoshiro256) {
        var folder = folders[path]!
        var names = folder.durable
        switch survival {
        case .nothing: break
        case .everything: names = folder.names
        case .prefix, .anySectors:
            // File systems journal the names of a directory in order.
            let kept = Int(chance.below(UInt64(folder.pending.count + 1)))
            for change in folder.pending.prefix(kept) { change.apply(to: &names) }
        }
        folder.names = names
        folder.durable = names
        folder.pending = []
        folders[path] = folder
    }
}

extension SimulatedDisk.NameChange {
    func apply(to names: inout [String: Int]) {
        switch self {
        case .set(let name, let node): names[name] = node
        case .remove(let name): names[name] = nil
        case .rename(let name, let target, let node):
            names[name] = nil
            names[target] = node
        }
    }
}
