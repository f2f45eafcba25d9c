"""ROS 2 nodes over the pure logic of `worldagen` and `worldagen_sim`: they decode, call and encode."""
