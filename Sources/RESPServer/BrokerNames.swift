import Broker

/// The broker's and the client protocol's results have the same name, and the module's name cannot tell them apart
/// because a type is called like it.
typealias BrokerSubscribeResult = SubscribeResult
