from setuptools import find_packages, setup

package_name = "emo_sim"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="emo developers",
    maintainer_email="emo@example.org",
    description="The simulated robot: servos behind ROS topics, and what its camera sees.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "robot_view = emo_sim.robot_view:main",
            "sim_robot = emo_sim.sim_robot:main",
        ],
    },
)
