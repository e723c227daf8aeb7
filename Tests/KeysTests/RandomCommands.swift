import Keys
import Primitives

/// Commands of all types with random arguments, mostly valid ones, on few keys: so that they meet.
struct RandomCommands {
    var random: Xoshiro256

    init(seed: UInt64) { random = Xoshiro256(seed: seed) }

    /// `$k` a key, `$v` a value, `$n` a small integer, `$i` any integer, `$f` a field, member or element, `$d` a
    /// decimal, `$t` a time to live in milliseconds, `$x` a stream's ID, `$g` a group, `$c` a consumer, `$b` a bit's
    /// place.
    private static let templates: [String: String] = [
        "string": """
        SET $k $v|SET $k $v PX $t|SET $k $v KEEPTTL GET|SET $k $i|GET $k|GETEX $k PX $t|GETDEL $k|GETSET $k $v
        MSET $k $v $k $v|MSETNX $k $v $k $v|MGET $k $k|APPEND $k $v|SETRANGE $k $b $v|GETRANGE $k $n $n|STRLEN $k
        INCR $k|DECRBY $k $i|INCRBYFLOAT $k $d|LCS $k $k IDX|SETNX $k $v|PSETEX $k $t $v|GETEX $k PERSIST
        """,
        "bitmap": """
        SETBIT $k $b 1|SETBIT $k $b 0|GETBIT $k $b|BITCOUNT $k|BITCOUNT $k $n $n BIT|BITPOS $k 1 $n|BITOP AND $k $k $k
        BITOP NOT $k $k|BITFIELD $k INCRBY i5 $b $n GET u7 $b|BITFIELD $k OVERFLOW FAIL SET u3 $b $n
        BITFIELD_RO $k GET i9 #1
        """,
        "generic": """
        DEL $k|DEL $k $k|UNLINK $k|EXISTS $k $k|TOUCH $k|TYPE $k|RENAME $k $k|RENAMENX $k $k|COPY $k $k REPLACE
        COPY $k $k DB 1|MOVE $k 1|KEYS *|SCAN 0 COUNT 100|SCAN $i|RANDOMKEY|PEXPIRE $k $t|PEXPIRE $k $t NX
        PEXPIRE $k $t GT|PEXPIREAT $k 1|TTL $k|PERSIST $k|DBSIZE|OBJECT ENCODING $k|MEMORY USAGE $k|DUMP $k
        SORT $k ALPHA|SORT $k BY nosort|SORT $k ALPHA DESC LIMIT 1 3 STORE $k|SORT $k BY *->a GET # GET *->b|SWAPDB 0 1
        """,
        "list": """
        LPUSH $k $f $f|RPUSH $k $f $f $f|LPOP $k|RPOP $k 2|LLEN $k|LRANGE $k $n $n|LINDEX $k $n|LSET $k $n $f
        LINSERT $k BEFORE $f $f|LREM $k $n $f|LTRIM $k 0 $n|LPOS $k $f|LMOVE $k $k LEFT RIGHT|RPOPLPUSH $k $k
        BLPOP $k $k 1|BRPOP $k 0|BLMOVE $k $k RIGHT LEFT 2|BLMPOP 1 2 $k $k LEFT COUNT 2|LMPOP 1 $k RIGHT
        """,
        "hash": """
        HSET $k $f $v $f $v|HSETNX $k $f $v|HGET $k $f|HDEL $k $f|HGETALL $k|HKEYS $k|HLEN $k|HINCRBY $k $f $n
        HINCRBYFLOAT $k $f $d|HRANDFIELD $k $n WITHVALUES|HSCAN $k 0|HMGET $k $f $f|HSTRLEN $k $f|HEXISTS $k $f
        """,
        "set": """
        SADD $k $f $f $f|SADD $k $n $n|SREM $k $f|SPOP $k|SPOP $k 2|SRANDMEMBER $k $n|SMEMBERS $k|SISMEMBER $k $f
        SINTERSTORE $k $k $k|SUNIONSTORE $k $k $k|SDIFFSTORE $k $k $k|SMOVE $k $k $f|SSCAN $k 0|SCARD $k|SUNION $k $k
        """,
        "sorted-set": """
        ZADD $k $d $f $d $f|ZADD $k GT CH $n $f|ZINCRBY $k $d $f|ZREM $k $f|ZRANGE $k 0 -1 WITHSCORES|ZRANK $k $f
        ZRANGEBYSCORE $k -inf $n|ZPOPMIN $k|ZPOPMAX $k 2|ZRANGESTORE $k $k 0 $n|ZUNIONSTORE $k 2 $k $k|ZSCAN $k 0
        ZREMRANGEBYRANK $k 0 $n|BZPOPMIN $k $k 1|BZMPOP 1 1 $k MAX|ZINTERSTORE $k 2 $k $k|ZRANDMEMBER $k $n|ZCARD $k
        """,
        "stream": """
        XADD $k * $f $v|XADD $k MAXLEN ~ 5 * $f $v $f $v|XADD $k $x $f $v|XDEL $k $x|XLEN $k|XRANGE $k - +
        XTRIM $k MAXLEN $n|XREAD COUNT 2 STREAMS $k 0|XREAD BLOCK 1000 STREAMS $k $|XGROUP CREATE $k $g $ MKSTREAM
        XGROUP CREATE $k $g 0|XGROUP DESTROY $k $g|XREADGROUP GROUP $g $c COUNT 2 STREAMS $k >|XACK $k $g $x
        XREADGROUP GROUP $g $c BLOCK 500 STREAMS $k >|XPENDING $k $g - + 5|XCLAIM $k $g $c 0 $x|XINFO STREAM $k FULL
        XAUTOCLAIM $k $g $c 0 0|XGROUP SETID $k $g 0|XGROUP DELCONSUMER $k $g $c|XSETID $k $x
        """,
    ]

    /// Those whose command is in the table.
    private static let known: [[String]] = {
        let table = KeyspaceSession.table
        return templates.keys.sorted().flatMap { (templates[$0] ?? "").split { $0 == "|" || $0 == "\n" } }
            .map { $0.split(separator: " ").map(String.init) }
            .filter { table.find(Array($0[0].utf8)) != nil }
    }()

    mutating func next() -> [[UInt8]] {
        let template = RandomCommands.known[below(RandomCommands.known.count)]
        return template.map { fill($0) }
    }

    /// Any command of the table with any number of any arguments, most of them wrong.
    mutating func nonsense() -> [[UInt8]] {
        let commands = KeyspaceSession.table.commands
        let command = commands[below(commands.count)]
        var words = command.name.split(separator: "|").map { Array($0.utf8) }
        let least = command.arity < 0 ? -command.arity : command.arity
        while words.count < least || (command.arity < 0 && random.chance(1, in: 2) && words.count < least + 8) {
            words.append(argument())
        }
        return words
    }

    private static let words = """
        NX XX GT LT CH GET EX PX EXAT KEEPTTL BY LIMIT STORE ALPHA DESC WITHSCORES REV BYSCORE BYLEX COUNT MATCH TYPE
        WEIGHTS AGGREGATE SUM BLOCK STREAMS GROUP MAXLEN MINID ~ = * $ > - + # ( [ (1 [a ( +inf -inf nan LEFT RIGHT
        BEFORE RANK IDX LEN BIT WRAP OVERFLOW SET INCRBY u8 i64 AND NOT FULL JUSTID FORCE IDLE WITHVALUES REPLACE DB
        DELCONSUMER
        """
        .split { $0 == " " || $0 == "\n" }.map { Array($0.utf8) }

    private mutating func argument() -> [UInt8] {
        switch random.below(8) {
        case 0, 1: fill("$k")
        case 2: fill("$n")
        case 3: fill("$i")
        case 4: RandomCommands.words[below(RandomCommands.words.count)]
        case 5: fill("$f")
        case 6: fill(["$d", "$x", "$g", "$c", "$t"][below(5)])
        default: noise()
        }
    }

    private mutating func below(_ bound: Int) -> Int { Int(random.below(UInt64(bound))) }

    private mutating func noise() -> [UInt8] {
        (0..<random.below(30)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private mutating func fill(_ word: String) -> [UInt8] {
        guard word.hasPrefix("$"), word.utf8.count == 2 else { return Array(word.utf8) }
        let text: String
        switch word.last {
        case "k": text = "key\(below(10))"
        case "v": text = ["", "7", "hello", "hello world", String(repeating: "x", count: below(80)), "10.5"][below(6)]
        case "n": text = String(below(16) - 5)
        case "i":
            text =
                [
                    "0", "-1", "9223372036854775807", "-9223372036854775808", "4611686018427387904", "1000000000000",
                    "18446744073709551615", String(below(100_000)),
                ][below(8)]
        case "f":
            text =
                ["a", "b", "c", "1", "2", "3", "member\(below(200))", "long" + String(repeating: "y", count: 70)][
                    below(8)
                ]
        case "d": text = ["1", "0.5", "-3.25", "1e3", "100", "inf", "-0"][below(7)]
        case "t": text = String(below(3000))
        case "x":
            text = ["0-1", "5-5", "1700000000000-0", "1700000000\(100 + below(900))-0", "99-\(below(9))"][below(5)]
        case "g": text = "group\(below(3))"
        case "c": text = "consumer\(below(4))"
        case "b": text = String(below(200))
        default: text = word
        }
        return Array(text.utf8)
    }
}
