"""Every name on the wire, once. All are relative, so a namespace or a remapping moves them; `/diagnostics` is ROS's own."""

STATIC_IMAGE = "static_camera/image_raw"
WRIST_IMAGE = "wrist_camera/image_raw"
JOINT_STATES = "joint_states"
INSTRUCTION = "instruction"
STATIC_CAMERA_INFO = "static_camera/camera_info"
WRIST_CAMERA_INFO = "wrist_camera/camera_info"
ACTION_CHUNK = "action_chunk"
LATENCY = "latency"
EXPERT_CHUNK = "expert/action_chunk"
STATIC_PREDICTION = "world_prediction/static"
WRIST_PREDICTION = "world_prediction/wrist"
POLICY_STATUS = "policy/status"
SURPRISE = "surprise"
SURPRISE_IMAGE = "surprise/image"
SPEED_SCALE = "speed_scale"
TARGET_POSE = "target_pose"
DELTA_TWIST = "delta_twist"
GRIPPER_COMMAND = "gripper_command"
TASK_STATE = "sim/task_state"
CLOCK = "/clock"
HEARTBEATS = "heartbeats"
STACK_STATUS = "stack/status"
MARKERS = "markers"
COMMAND_STATUS = "command/status"
DEADMAN = "deadman"  # of whoever holds the button
DEADMAN_REQUIRED = "deadman/required"
JOINT_TRAJECTORY = "joint_trajectory"
DIAGNOSTICS = "/diagnostics"
TF = "/tf"
TF_STATIC = "/tf_static"

EXECUTE = "execute"  # action
EXPLORE = "explore"  # action
RESET_POLICY = "policy/reset"  # service
LOAD_ADAPTER = "policy/load_adapter"  # service
LIST_ADAPTERS = "policy/list_adapters"  # service
SHADOW_ADAPTER = "policy/shadow_adapter"  # service
SHADOW_REPORT = "policy/shadow"
ROUTING = "policy/routing"
ROUTE = "policy/route"  # service
CHANGE_PLACES = "bank/change"  # service
LIST_PLACES = "bank/list"  # service
ADAPT = "adapt"  # action
RESET_SIMULATOR = "sim/reset"  # service
START_RECORDING = "recorder/start"  # service
STOP_RECORDING = "recorder/stop"  # service
CLEAR_FAULT = "command/clear_fault"  # service
RESET_SCENE = "explore/reset_scene"  # service of whoever puts a real scene in order

# Streams a policy takes, by the name our messages to the operator use.
CAMERA_TOPICS = {"static_camera": STATIC_IMAGE, "wrist_camera": WRIST_IMAGE}
CAMERA_INFO_TOPICS = {"static_camera": STATIC_CAMERA_INFO, "wrist_camera": WRIST_CAMERA_INFO}
