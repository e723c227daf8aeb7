import Broker

/// The broker's and the client protocol's results have the same names; the module's name cannot tell them apart
/// because a type is called like it.
typealias BrokerSubscribeResult = SubscribeResult
typealias BrokerHistoryResult = HistoryResult
